"""What keeping frame tokens saves: a whole hop and the frame stage, against computing the whole window again.

Both are timed in turns in one run, on the same windows; ratios are what counts.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from ros2_emollama.config import Config, ModelConfig, ReasonerConfig
from ros2_emollama.pipeline import Pipeline
from ros2_emollama.types import Frame, GridFrame, Window, seconds_to_ns


def _windows(pipeline: Pipeline, count: int) -> list[Window]:
    """`count` neighbouring windows of noise pictures at 640×480 and noise sound."""
    spec = pipeline.window_spec
    rng = np.random.default_rng(0)
    tick_ns = seconds_to_ns(spec.seconds / spec.frames)
    length = spec.frames + count
    frames = [GridFrame(i, Frame(i * tick_ns, rng.integers(0, 256, (480, 640, 3), dtype=np.uint8))) for i in range(length)]
    samples = (0.05 * rng.standard_normal(round(spec.seconds * spec.sample_rate_hz))).astype(np.float32)
    seen = np.ones(spec.frames, np.bool_)
    return [
        Window(
            i + spec.frames,
            i * tick_ns,
            (i + spec.frames) * tick_ns,
            tuple(frames[i : i + spec.frames]),
            samples,
            spec.sample_rate_hz,
            seen,
        )
        for i in range(count)
    ]


def measure_hop(model: str, hops: int = 24) -> dict[str, Any]:
    """Medians in milliseconds and their ratios. `hop_cpu_ms` is processor time: where `hop_ms` is well above it, others had the core."""
    pipeline = Pipeline.load(Config(model=ModelConfig(path=model), reasoner=ReasonerConfig(enabled=False)))
    pipeline.warm_up()
    windows = _windows(pipeline, hops)
    streamed, streamed_cpu, whole, stream_frames, whole_frames = [], [], [], [], []
    pipeline.perceive(windows[0])
    ring = dict(pipeline._ring)
    stages: dict[str, list[float]] = {}
    for window in windows[1:]:
        pipeline._ring = ring
        start, start_cpu = time.perf_counter(), time.process_time()
        percept = pipeline.perceive(window)
        streamed.append(time.perf_counter() - start)
        streamed_cpu.append(time.process_time() - start_cpu)
        stream_frames.append(_frame_stage(percept.state.stage_seconds))
        for stage, seconds in percept.state.stage_seconds.items():
            stages.setdefault(stage, []).append(seconds)
        ring = dict(pipeline._ring)
        pipeline.forget()
        start = time.perf_counter()
        percept = pipeline.perceive(window)
        whole.append(time.perf_counter() - start)
        whole_frames.append(_frame_stage(percept.state.stage_seconds))
    return {
        "runtime": pipeline.describe(),
        "hop_ms": 1e3 * statistics.median(streamed),
        "hop_cpu_ms": 1e3 * statistics.median(streamed_cpu),
        "whole_window_ms": 1e3 * statistics.median(whole),
        "hop_ratio": statistics.median(whole) / statistics.median(streamed),
        "frame_stage_ms": 1e3 * statistics.median(stream_frames),
        "frame_stage_whole_ms": 1e3 * statistics.median(whole_frames),
        "frame_stage_ratio": statistics.median(whole_frames) / statistics.median(stream_frames),
        "stage_ms": {stage: 1e3 * statistics.median(values) for stage, values in stages.items()},
    }


def _frame_stage(stages: Any) -> float:
    return float(stages.get("resize", 0.0) + stages.get("frames", 0.0))
