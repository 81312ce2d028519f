"""Questions through a model → predictions as lines, in batches, resumable.

    OUT/<group>/<benchmark>.jsonl       {video_id, mode, answer, response[, scores], provenance}: what `score` reads
    OUT/<group>/<benchmark>.run.json    which model answered which questions: another one is not mixed in
Lines are written in the questions' order, a batch at a time. A run that dies leaves whole lines (a torn last one is dropped); the same
command goes on from there, and the file is the one that an uninterrupted run writes. A clip that gets no answer has no line and is asked
again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from ..problems import Problems
from ..whole import whole_lines, write_whole
from .questions import Question
from .registry import Benchmark


@dataclass(frozen=True)
class Response:
    """text as the model said it; `scores` of labels where it gives them; `error`: why there is no answer"""

    text: str = ""
    scores: Mapping[str, float] | None = None
    error: str = ""


class Answerer(Protocol):
    """A model that answers. One response a question, in their order; never raises for a clip's sake."""

    @property
    def name(self) -> str:
        """Tells this model and its settings from any other."""
        ...

    def answer(self, questions: Sequence[Question]) -> Sequence[Response]: ...


def output_of(root: Path, benchmark: Benchmark) -> Path:
    return root / benchmark.group / f"{benchmark.name}.jsonl"


def generate(
    benchmark: Benchmark,
    questions: Sequence[Question],
    answerer: Answerer,
    root: Path,
    problems: Problems,
    batch: int = 8,
    again: bool = False,
) -> Path:
    """Ask what is not answered yet; returns the file of predictions.

    again  ask everything anew
    ValueError where the file is of another model or of other questions. StrictError where `problems` is strict and a clip gets no answer.
    """
    if batch < 1:
        raise ValueError(f"--batch must be at least 1, got {batch}")
    output = output_of(root, benchmark)
    output.parent.mkdir(parents=True, exist_ok=True)
    _claim(output, benchmark, questions, answerer.name, again)
    done = {} if again else _done(output)
    _write(output, [done[q.video_id] for q in questions if q.video_id in done])
    waiting = iter([question for question in questions if question.video_id not in done])
    with (
        output.open("a", encoding="utf-8") as stream,
        tqdm(total=len(questions), initial=len(done), desc=benchmark.name, unit="clip") as progress,
    ):
        while part := list(islice(waiting, batch)):
            for question, response in zip(part, answerer.answer(part), strict=True):
                if response.error:
                    problems.add("no answer was made", question.clip.where, detail=f"{question.video_id}: {response.error}")
                    continue
                done[question.video_id] = _line(question, response)
                stream.write(done[question.video_id])
            stream.flush()
            os.fsync(stream.fileno())
            progress.update(len(part))
    _write(output, [done[q.video_id] for q in questions if q.video_id in done])
    return output


def _line(question: Question, response: Response) -> str:
    item: dict[str, Any] = {"video_id": question.video_id, "mode": question.mode, "answer": question.answer, "response": response.text}
    if response.scores is not None:
        item["scores"] = {label: round(score, 6) for label, score in response.scores.items()}
    item["provenance"] = {"source": "fabricated"} if question.clip.fabricated else {"where": question.clip.where}
    return json.dumps(item, ensure_ascii=True) + "\n"


def _claim(output: Path, benchmark: Benchmark, questions: Sequence[Question], model: str, again: bool) -> None:
    """Say whose file this is; ValueError where it is somebody else's."""
    asked = hashlib.sha256()
    for question in questions:
        asked.update(
            json.dumps([question.video_id, question.mode, question.answer, question.task, question.instruction, question.says]).encode()
        )
    mine = {"benchmark": benchmark.name, "model": model, "questions": len(questions), "sha256": asked.hexdigest()}
    path = output.with_suffix(".run.json")
    if output.is_file() and not again:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
        if found != mine:
            differ = ", ".join(key for key in mine if not isinstance(found, dict) or found.get(key) != mine[key])
            raise ValueError(f"{output} was made with another {differ}; give other --predictions, or --again to ask everything anew")
    write_whole(path, json.dumps(mine, indent=1) + "\n")


def _done(output: Path) -> dict[str, str]:
    """Whole lines by video_id."""
    return {item["video_id"]: line.decode("utf-8") for line, item in whole_lines(output) if isinstance(item.get("video_id"), str)}


def _write(output: Path, lines: Sequence[str]) -> None:
    write_whole(output, "".join(lines))
