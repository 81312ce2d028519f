"""Every runtime against torch, on the same windows: how far apart, and do they say the same?

In:  a model folder with its torch weights; drawn windows, and every window of every clip of a folder where one is given.
Out: a table, JSON on request; exit status 1 where a runtime is further away than allowed.

    graphs     each graph fed what torch's own chain fed it: largest difference of each output, as a share of its largest value
    windows    each runtime's own chain from picture and sound to labels: label agreement, largest difference of a probability
    language   torch's own answers, word by word: cosine of the logits, and how often the likeliest token is the same
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

from ros2_emollama.analysis import windows_of
from ros2_emollama.config import Config
from ros2_emollama.media import MediaError, read_clip
from ros2_emollama.model.folder import ModelFolder, ModelFolderError, find_model, open_folder
from ros2_emollama.pipeline import Pipeline
from ros2_emollama.reasoner import Reasoner
from ros2_emollama.reasoner.prompt import prompts_of
from ros2_emollama.runtime.base import Encoders, LlamaSession, RuntimeUnavailable, Tensors
from ros2_emollama.runtime.factory import RUNTIMES, open_runtime
from ros2_emollama.types import Float32, Frame, GridFrame, Percept, Window
from ros2_emollama.windows import WindowAssembler, WindowSpec

REFERENCE = "torch"
ANSWER_TOKENS = 32
SPOKEN_EVERY = 40  # windows between two that the language models are compared on: each costs as much as 40 labels


@dataclass(frozen=True)
class Limits:
    """What is still called the same."""

    graph: float = 1e-3
    probability: float = 1e-3
    cosine: float = 0.9


@dataclass
class Findings:
    """How far one runtime is from torch."""

    runtime: str
    graphs: dict[str, float] = field(default_factory=dict)
    windows: int = 0
    same_label: int = 0
    probability: float = 0.0
    cosines: list[float] = field(default_factory=list)
    tokens: int = 0
    same_token: int = 0

    def over(self, limits: Limits) -> list[str]:
        """What is further away than allowed, in words."""
        worse = [f"{name} differs by {share:.2g} of its range" for name, share in self.graphs.items() if share > limits.graph]
        if self.same_label < self.windows:
            worse.append(f"{self.windows - self.same_label} of {self.windows} windows get another label")
        if self.probability > limits.probability:
            worse.append(f"a probability differs by {self.probability:.2g}")
        if self.cosines and min(self.cosines) < limits.cosine:
            worse.append(f"the language model's logits have cosine {min(self.cosines):.4f}")
        return worse

    def report(self) -> dict[str, Any]:
        language = {}
        if self.cosines:
            shares = {"cosine_min": min(self.cosines), "cosine_mean": float(np.mean(self.cosines)), "tokens": self.tokens}
            language = {**shares, "same_token": self.same_token / self.tokens}
        said = {"n": self.windows, "same_label": self.same_label, "probability_difference": self.probability}
        return {"graph_difference": self.graphs, "windows": said, "language": language}


class Listening:
    """Torch's encoders; whatever they are asked, the other runtime is asked too, and the difference is noted."""

    def __init__(self, reference: Encoders, other: Encoders, findings: Findings) -> None:
        self._reference, self._other, self._findings = reference, other, findings

    @property
    def name(self) -> str:
        return self._reference.name

    def run(self, graph: str, inputs: Tensors) -> dict[str, Float32]:
        expected, found = self._reference.run(graph, inputs), self._other.run(graph, inputs)
        for name, value in expected.items():
            share = float(np.abs(found[name] - value).max()) / max(1.0, float(np.abs(value).max()))
            key = f"{graph}.{name}"
            self._findings.graphs[key] = max(share, self._findings.graphs.get(key, 0.0))
        return expected


def drawn_windows(spec: WindowSpec) -> Iterator[Window]:
    """Windows of drawn pictures and sound: all streams, pictures only, sound only, and nothing."""
    rng = np.random.default_rng(0)
    for tick, (seen, heard) in enumerate(((True, True), (True, False), (False, True), (False, False)), start=spec.frames):
        rows, columns = np.mgrid[0:240, 0:320]
        face = 200 * np.exp(-(((columns - 160) / 40) ** 2) - ((rows - 120) / 60) ** 2)
        picture = (face[..., None] + rng.integers(0, 56, (240, 320, 3))).astype(np.uint8)
        frames = tuple(GridFrame(i, Frame(i * spec.tick_ns, picture)) if seen else None for i in range(tick - spec.frames, tick))
        count = round(spec.seconds * spec.sample_rate_hz)
        samples = rng.standard_normal(count).astype(np.float32) * 0.1 if heard else np.zeros(count, np.float32)
        presence = np.full(spec.frames, heard)
        yield Window(tick, (tick - spec.frames) * spec.tick_ns, tick * spec.tick_ns, frames, samples, spec.sample_rate_hz, presence)


def clip_windows(spec: WindowSpec, folder: Path | None) -> Iterator[Window]:
    """Every window of every clip of a folder; a file that is no clip is named and passed over."""
    for path in sorted(folder.iterdir()) if folder else ():
        try:
            yield from tqdm(windows_of(read_clip(path, spec.sample_rate_hz), WindowAssembler(spec)), desc=path.name, unit="window")
        except MediaError as error:
            print(f"passed over: {error}", file=sys.stderr)


def compare(folder: ModelFolder, runtime: str, clips: Path | None, threads: int) -> Findings:
    """Run both on every window. RuntimeUnavailable when either cannot run here."""
    config = Config()
    encoders, llama = open_runtime(folder, runtime, threads)
    true_encoders, true_llama = open_runtime(folder, REFERENCE, threads)
    findings = Findings(encoders.name)
    reference = Pipeline(folder, Listening(true_encoders, encoders, findings), scorer(folder, true_llama), config)
    other = Pipeline(folder, encoders, scorer(folder, llama), config)
    spec = other.window_spec
    for number, window in enumerate(itertools.chain(drawn_windows(spec), clip_windows(spec, clips))):
        expected, found = reference.perceive(window), other.perceive(window)
        findings.windows += 1
        findings.same_label += expected.state.label == found.state.label
        apart = np.abs(np.subtract(expected.state.probabilities, found.state.probabilities)).max()
        findings.probability = max(findings.probability, float(apart))
        if llama and true_llama and number % SPOKEN_EVERY == 0:
            compare_language(folder, true_llama, llama, expected, findings)
    return findings


def scorer(folder: ModelFolder, session: LlamaSession | None) -> Reasoner | None:
    """What scores the labels of a model without a head; 4 bits and torch's weights then differ in them, too: give --probability."""
    needed = session is not None and not folder.preset.has_head
    return Reasoner(session, folder.language("tokenizer"), folder.preset) if needed and session else None


def compare_all(folder: ModelFolder, arguments: argparse.Namespace) -> Iterator[Findings]:
    """Of the runtimes asked for, or else of all that run here. RuntimeUnavailable when one asked for does not, or none does."""
    compared, missing = 0, []
    for runtime in arguments.runtime or [name for name in RUNTIMES if name != REFERENCE]:
        try:
            yield compare(folder, runtime, arguments.clips, arguments.threads)
            compared += 1
        except RuntimeUnavailable as error:
            missing.append(str(error))
    if missing and (arguments.runtime or not compared):
        raise RuntimeUnavailable("; ".join(missing))
    for reason in missing:
        print(f"passed over: {reason}", file=sys.stderr)


def compare_language(folder: ModelFolder, reference: LlamaSession, other: LlamaSession, percept: Percept, findings: Findings) -> None:
    """Let torch answer, and give the other session the same words."""
    tokenizer = Tokenizer.from_file(str(folder.language("tokenizer")))
    prompts = prompts_of(folder.preset, tokenizer)
    prompt = prompts.build("reason", label=percept.state.label, transcript=percept.transcript)
    before, after = (reference.embed(np.array(ids)) for ids in (prompt.before_prefix, prompt.after_prefix + prompt.opening))
    rows = np.concatenate([before, percept.prefix, after])
    for session in (reference, other):
        session.rewind(0)
    for _ in range(ANSWER_TOKENS):
        expected, found = reference.extend(rows), other.extend(rows)
        findings.cosines.append(float(expected @ found / (np.linalg.norm(expected) * np.linalg.norm(found))))
        token = int(expected.argmax())
        findings.tokens += 1
        findings.same_token += token == int(found.argmax())
        if token == prompts.end:
            return
        rows = reference.embed(np.array([token]))


def table(findings: Findings) -> str:
    """For people."""
    lines = [f"{findings.runtime} against {REFERENCE}"]
    lines += [f"  {name:<26} largest difference {share:9.2e} of its range" for name, share in findings.graphs.items()]
    lines.append(f"  {'labels':<26} the same on {findings.same_label} of {findings.windows} windows")
    lines.append(f"  {'probabilities':<26} largest difference {findings.probability:9.2e}")
    if findings.cosines:
        least, mean = min(findings.cosines), np.mean(findings.cosines)
        lines.append(f"  {'language model, logits':<26} cosine {least:.4f} at least, {mean:.4f} on average")
        lines.append(f"  {'language model, tokens':<26} the same on {findings.same_token} of {findings.tokens}")
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    limits = Limits()
    parser = argparse.ArgumentParser(prog="python -m export.parity", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="nano", metavar="NAME|DIR", help="a shipped model or a model folder (%(default)s)")
    parser.add_argument("--clips", type=Path, metavar="DIR", help="also compare every window of the clips there")
    choices = [name for name in RUNTIMES if name != REFERENCE]
    parser.add_argument("--runtime", action="append", choices=choices, help="compare this one only; without it, all that run here")
    parser.add_argument("--threads", type=int, default=1, help="of each runtime (%(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the findings as JSON")
    parser.add_argument("--graph", type=float, default=limits.graph, help="difference of a graph's output that is allowed (%(default)s)")
    parser.add_argument("--probability", type=float, default=limits.probability, help="difference of a probability (%(default)s)")
    parser.add_argument("--cosine", type=float, default=limits.cosine, help="smallest cosine of the language model's logits (%(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    limits = Limits(arguments.graph, arguments.probability, arguments.cosine)
    report: dict[str, Any] = {}
    worse: list[str] = []
    try:
        if arguments.clips and not arguments.clips.is_dir():
            raise ModelFolderError(f"{arguments.clips} is no folder; give --clips a folder of clips")
        folder = open_folder(find_model(arguments.model))
        for findings in compare_all(folder, arguments):
            print(table(findings))
            report[findings.runtime] = {**findings.report(), "over": findings.over(limits)}
            worse += [f"{findings.runtime}: {reason}" for reason in findings.over(limits)]
    except (ModelFolderError, RuntimeUnavailable) as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2
    if arguments.output:
        arguments.output.write_text(json.dumps({"model": folder.model_id, "runtimes": report}, indent=1) + "\n", encoding="utf-8")
    for reason in worse:
        print(f"too far from {REFERENCE}: {reason}", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
