"""The model: its files against their hashes, and how long a hop takes on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import numpy as np

from ..config import Config
from ..model.folder import ModelFolder, ModelFolderError, find_model, open_folder
from ..types import AudioChunk, Frame
from .finding import Finding, note, ok, problem

TEST_SECONDS = 2.0


def examine(config: Config, quick: bool) -> Iterator[Finding]:
    """Hashes, then unless `quick` a self-test of two seconds."""
    try:
        folder = open_folder(find_model(config.model.path))
        folder.verify()
    except ModelFolderError as error:
        text, _, cure = str(error).rpartition("; ")
        yield problem("model", text, cure)
        return
    yield ok("model", f"{folder.model_id}, {len(folder.manifest.files)} files as in the manifest, {folder.root}")
    if not quick:
        yield hop_time(config, folder)


def hop_time(config: Config, folder: ModelFolder) -> Finding:
    """Median time of a hop on noise, against the time there is for one."""
    from ..pipeline import Pipeline
    from ..runtime.base import RuntimeUnavailable

    try:
        pipeline = Pipeline.load(config)
        pipeline.warm_up()
    except (ModelFolderError, RuntimeUnavailable) as error:
        text, _, cure = str(error).rpartition("; ")
        return problem("self-test", text, cure)
    times = _hops(pipeline)
    there_is = config.window.hop_ticks * folder.preset.window_seconds / folder.preset.window_frames
    return judge_hops(times, there_is, config.window.hop_ticks, pipeline.describe().split(", ")[1])


def judge_hops(seconds: list[float], there_is: float, ticks: int, runs_on: str) -> Finding:
    middle = statistics.median(seconds)
    took = f"a hop takes {middle * 1e3:.0f} ms ({max(seconds) * 1e3:.0f} ms at most, {len(seconds)} measured)"
    text = f"{took}, {there_is * 1e3:.0f} ms are there; {runs_on}"
    if middle > there_is:
        return problem("self-test", f"{text}: labels cannot keep up", f"set window.hop_ticks to {ticks * (int(middle / there_is) + 1)}")
    if middle > there_is / 2:
        return note(
            "self-test", f"{text}: little is left for explanations", f"set window.hop_ticks to {ticks * 2}, or reasoner.enabled to false"
        )
    return ok("self-test", text)


def _hops(pipeline: object) -> list[float]:
    """Seconds of each hop: pictures and sound of noise, as fast as they are taken, for two seconds."""
    from ..pipeline import Pipeline
    from ..windows import WindowAssembler

    assert isinstance(pipeline, Pipeline)
    spec, noise = pipeline.window_spec, np.random.default_rng(0)
    assembler, stamp = WindowAssembler(spec), 0
    times: list[float] = []
    until = time.monotonic() + TEST_SECONDS
    while time.monotonic() < until or not times:
        picture = noise.integers(0, 255, (480, 640, 3), np.uint8)
        sound = noise.uniform(-0.1, 0.1, spec.samples_per_tick).astype(np.float32)
        for window in [*assembler.add_frame(Frame(stamp, picture)), *assembler.add_audio(AudioChunk(stamp, sound, spec.sample_rate_hz))]:
            started = time.perf_counter()
            pipeline.perceive(window)
            times.append(time.perf_counter() - started)
        stamp += spec.tick_ns
    return times
