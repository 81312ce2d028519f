"""What a benchmark asks: lines of `python -m training instruct --stage BENCHMARK --format jsonl`, one a clip.

keys  id, mode, answer, task, instruction (says, template, transcript where there are any), media {root, video, audio, …}, provenance
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..annotation.clips import AnnotationClip, clip_of
from ..problems import Problems
from .predictions import parsed_lines
from .registry import Benchmark


@dataclass(frozen=True)
class Question:
    """One clip and what is asked of it. `sample` is the line itself: whoever knows its format builds the exact prompt from it."""

    clip: AnnotationClip
    mode: str
    answer: str
    task: str
    instruction: str
    says: str
    sample: Mapping[str, Any]

    @property
    def video_id(self) -> str:
        return self.clip.video_id


def read_questions(path: Path, benchmark: Benchmark, problems: Problems) -> list[Question]:
    """The usable questions of the modes that are scored, in their order. FileNotFoundError, ValueError when none is left.

    `path` is a file, or a folder of <benchmark>.jsonl.
    """
    file = path / f"{benchmark.name}.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"no questions {file}; make them: python -m training instruct --stage {benchmark.name} --format jsonl --output {file}"
        )
    questions: dict[str, Question] = {}
    for where, question in parsed_lines(file, problems, "not a question", _question):
        if benchmark.modes and question.mode not in benchmark.modes:
            continue
        if question.video_id in questions:
            problems.add("double video_id", where, detail=f"{question.video_id!r}; the first row counts")
            continue
        questions[question.video_id] = question
    if not questions:
        wanted = f" with mode {' or '.join(benchmark.modes)}" if benchmark.modes else ""
        raise ValueError(f"{file} has no usable question{wanted}; first problem: {problems.told[0] if problems.told else 'none'}")
    return list(questions.values())


def _question(item: Mapping[str, Any], where: str) -> Question:
    texts = {key: item.get(key, "") for key in ("mode", "answer", "task", "instruction", "says")}
    wrong = [key for key, value in texts.items() if not isinstance(value, str)]
    if wrong or not texts["answer"].strip():
        raise ValueError(f"{wrong[0] if wrong else 'answer'} must be a text that says something")
    return Question(clip_of(item, where, ""), sample=item, **texts)
