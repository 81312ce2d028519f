"""All clips through all agents: bounded, resumable, nothing lost.

    OUT/annotations.jsonl   a line a clip, written when the clip is done; brought into the clips' order at the end
    OUT/measures.jsonl      what local agents measured
    OUT/usage.json          requests, tokens and cost over all runs
    OUT/cache/              answers by content hash
A job that dies leaves whole lines (a torn last one is dropped) and paid answers; the same command goes on from there. A clip for which an
agent got no answer at all is done again by the next run; refusals and answers of no use are findings and stay.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ros2_emollama.media import MediaError

from ..problems import Problems
from ..whole import whole_lines, write_whole
from .action_units import Expression, expression_of, read_units
from .agents import SLOTS, Agent, Case, Finding, Slot
from .clips import AnnotationClip
from .evidence import Evidence, read_evidence
from .local_agents import expression_among
from .measuring import Measured, Measurer
from .pace import at_once
from .usage import Ledger

SAVE_EVERY = 20  # clips between two writings of the usage


@dataclass(frozen=True)
class Job:
    """Where it is kept, who answers in each slot, and how a face's expression is found where there is no CSV of OpenFace."""

    output: Path
    agents: Mapping[Slot, Agent]
    ledger: Ledger
    landmarks: Callable[[AnnotationClip], Expression] = lambda clip: Expression()
    concurrency: int = 8

    @property
    def annotations(self) -> Path:
        return self.output / "annotations.jsonl"


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole JSON objects of a file; a torn or damaged line is passed over."""
    return (item for _, item in whole_lines(path))


def _write(path: Path, lines: Sequence[str]) -> None:
    write_whole(path, "".join(line + "\n" for line in lines), errors="backslashreplace")


def _fingerprint(job: Job, clip: AnnotationClip) -> dict[str, Any]:
    """What a line was made from: with another label, transcript or agent it is made anew."""
    return {
        "label": clip.label,
        "transcript": clip.transcript,
        "openface": str(clip.openface or ""),
        "agents": {slot: agent.name for slot, agent in job.agents.items()},
    }


def measure_clips(clips: Sequence[AnnotationClip], output: Path, measurer: Measurer, problems: Problems) -> dict[str, Measured]:
    """Measures of every clip, made once; goes on where it was stopped."""
    path = output / "measures.jsonl"
    known = {item["video_id"]: Measured.from_json(json.dumps(item)) for item in read_lines(path) if "voice" in item}
    _write(path, [measured.to_json() for measured in known.values()])
    with path.open("a", encoding="utf-8") as stream:
        for clip in tqdm([clip for clip in clips if clip.video_id not in known], desc="measuring", unit="clip"):
            try:
                measured = measurer.measure(clip.video_id, read_evidence(clip))
            except (MediaError, ValueError) as error:
                problems.add("unreadable media", clip.where, detail=str(error))
                continue
            known[clip.video_id] = measured
            stream.write(measured.to_json() + "\n")
            stream.flush()
    return {clip.video_id: known[clip.video_id] for clip in clips if clip.video_id in known}


def landmarks_of(measured: Mapping[str, Measured], norms: Any) -> Callable[[AnnotationClip], Expression]:
    """Expressions from what was measured."""
    return lambda clip: expression_among(measured[clip.video_id], norms) if clip.video_id in measured else Expression()


async def annotate(clips: Sequence[AnnotationClip], job: Job, problems: Problems) -> Counter[str]:
    """Annotate what is not annotated yet; how often each slot ended how ("visual ok"), over all clips.

    ApiUnusable and BudgetSpent end it at once, StrictError where `problems` is strict; what was done until then is kept.
    """
    job.output.mkdir(parents=True, exist_ok=True)
    done = _done(clips, job)
    _write(job.annotations, [json.dumps(item, ensure_ascii=False) for item in done.values()])
    waiting = iter([clip for clip in clips if clip.video_id not in done])
    with (
        job.annotations.open("a", encoding="utf-8", errors="backslashreplace") as stream,
        tqdm(total=len(clips), initial=len(done), desc="annotating", unit="clip") as progress,
    ):

        async def work() -> None:
            for clip in waiting:  # one iterator for all: whoever is free takes the next
                record = await _annotate_one(clip, job, problems)
                if record is not None:
                    done[clip.video_id] = record
                    stream.write(json.dumps(record, ensure_ascii=False) + "\n")
                    stream.flush()
                    if len(done) % SAVE_EVERY == 0:
                        job.ledger.write(job.output / "usage.json")
                progress.update()

        try:
            await at_once(job.concurrency, work)
        finally:
            job.ledger.write(job.output / "usage.json")
    mine = [done.pop(clip.video_id) for clip in clips if clip.video_id in done]
    _write(job.annotations, [json.dumps(item, ensure_ascii=False) for item in (*mine, *done.values())])
    return Counter(f"{slot} {finding['status']}" for item in mine for slot, finding in item["findings"].items())


def _done(clips: Sequence[AnnotationClip], job: Job) -> dict[str, dict[str, Any]]:
    """Lines that stand and need not be made again, by video_id; those of clips that are not asked for now stay as well."""
    wanted = {clip.video_id: _fingerprint(job, clip) for clip in clips}
    kept = {}
    for item in read_lines(job.annotations):
        findings, name = item.get("findings"), item.get("video_id")
        if not isinstance(findings, dict) or not isinstance(name, str):
            continue
        fresh = name not in wanted or item.get("made_from") == wanted[name]
        if fresh and all(isinstance(f, dict) and f.get("status") not in (None, "failed") for f in findings.values()):
            kept[name] = item
    return kept


async def _annotate_one(clip: AnnotationClip, job: Job, problems: Problems) -> dict[str, Any] | None:
    """A clip's line; None where its files cannot be read."""
    expression = await asyncio.to_thread(_expression, clip, job, problems)
    evidence = Evidence((), np.zeros(0, np.float32), 0)
    try:
        if any(agent.needs_media for agent in job.agents.values()):
            evidence = await asyncio.to_thread(read_evidence, clip, expression.peak_frame)
    except (MediaError, ValueError) as error:
        problems.add("unreadable media", clip.where, detail=str(error))
        return None
    case = Case(clip, evidence, expression)
    first = [slot for slot in SLOTS if slot != "reasoning" and slot in job.agents]
    found = dict(zip(first, await asyncio.gather(*(job.agents[slot].find(case) for slot in first)), strict=True))
    if "reasoning" in job.agents:
        if any(finding.status == "failed" for finding in found.values()):  # its answer would rest on half of the clues, and be cached
            found["reasoning"] = Finding("failed", detail="not asked: an agent before it got no answer")
        else:
            found["reasoning"] = await job.agents["reasoning"].find(replace(case, findings=found))
    for slot, finding in found.items():
        if finding.status in ("failed", "refused", "malformed", "cut_short"):
            problems.note(f"{slot} {finding.status}", clip.where, detail=f"{clip.video_id}: {finding.detail}")
    return {
        "video_id": clip.video_id,
        "label": clip.label,
        "transcript": clip.transcript,
        "expression": asdict(expression),
        "findings": {slot: asdict(finding) for slot, finding in found.items()},
        "video": str(clip.video or ""),
        "audio": str(clip.audio or ""),
        "provenance": {"fabricated": clip.fabricated, "where": clip.where},
        "made_from": _fingerprint(job, clip),
    }


def _expression(clip: AnnotationClip, job: Job, problems: Problems) -> Expression:
    """OpenFace's where there is its CSV, the landmarks' else."""
    if clip.openface is not None:
        try:
            return expression_of(read_units(clip.openface), clip.label)
        except ValueError as error:
            problems.add("action units", clip.where, detail=str(error))
    return job.landmarks(clip)
