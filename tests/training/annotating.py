"""Clips, agents behind a server that scripts answer for, and jobs over them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.core.clips import write_clip
from tests.training.chat_server import Answer, Server
from training.annotation.action_units import Expression
from training.annotation.agents import Agent, AudioAgent, FusingAgent, VisualAgent
from training.annotation.chat_api import ChatClient, Endpoint
from training.annotation.clips import AnnotationClip
from training.annotation.job import Job, annotate
from training.annotation.reply_cache import ReplyCache
from training.annotation.usage import Ledger
from training.problems import Problems


def write_openface(path: Path, rows: int = 40, peak: int = 25, skip: frozenset[int] = frozenset()) -> Path:
    """Surprise grows to frame `peak` (counted from 0) and falls again; before it a smile is stronger in sum. Names as OpenFace has them."""
    units = ("01", "02", "05", "26", "06", "12")
    header = ["frame", " face_id", " timestamp", " confidence", " success", *(f" AU{u}_r" for u in units), *(f" AU{u}_c" for u in units)]
    lines = [",".join(header)]
    for i in range(rows):
        surprise = max(0.0, 2.5 - 0.2 * abs(i - peak))
        smile = 4.5 if i == 5 else 0.1
        values = [surprise, surprise, surprise / 3, surprise, smile, smile]
        seen = [int(value > 0.5) for value in values]
        lines.append(", ".join(map(str, (i + 1, 0, i / 25, 0.98, int(i not in skip), *values, *seen))))
    path.write_text("\n".join(lines) + "\n")
    return path


MODELS = {"see": "The brow is raised.", "hear": "The voice is loud.", "fuse": "The person is surprised."}


def honest(asked: Mapping[str, Any], number: int) -> Answer:
    return Answer(MODELS[asked["model"]])


def some_clips(folder: Path, count: int = 3) -> list[AnnotationClip]:
    """All of one film, told apart by what is said in them."""
    film = folder / "film.mp4"
    if not film.is_file():
        write_clip(film, 0.6)
    return [AnnotationClip(f"c{i}", film, label="surprise", transcript=f"take {i}", where=f"clips.csv:{i + 2}") for i in range(count)]


def run(
    server: Server, clips: list[AnnotationClip], output: Path, retries: int = 1, **options: Any
) -> tuple[Counter[str], Ledger, Problems]:
    ledger, problems = Ledger.read(output / "usage.json"), Problems()

    async def work() -> Counter[str]:
        clients = {
            m: ChatClient(Endpoint(server.url, m, "NO_KEY", retries=retries), ReplyCache(output / "cache"), ledger, 0.01) for m in MODELS
        }
        agents: dict[Any, Agent] = {
            "visual": VisualAgent(clients["see"], frames=4),
            "audio": AudioAgent(clients["hear"]),
            "reasoning": FusingAgent(clients["fuse"]),
        }
        expression = Expression("openface", 5, 0.2, {"AU02 outer brow raiser": 1.5})
        try:
            return await annotate(clips, Job(output, agents, ledger, lambda clip: expression, **options), problems)
        finally:
            for client in clients.values():
                await client.__aexit__(None, None, None)

    return asyncio.run(work()), ledger, problems
