"""What a model folder takes once it is loaded and used: memory by the kernel's own count, load time, time of a window, of a token.

    python -m benchmarks.memory --model DIR [--runtime onnxruntime] [--threads 1] [--json FILE]
In a process of its own, so that nothing else is counted. One window of noise goes through every graph at its largest size, then the
language model takes as long a prompt as this model's windows make, and answers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .report import tell

TOKENS = 16
KINDS = {"rss_mb": "VmRSS", "anonymous_mb": "RssAnon", "file_mb": "RssFile", "peak_mb": "VmHWM"}
"""Ours → the kernel's. Pages of a file are given back when memory is short, anonymous ones are not."""


def taken() -> dict[str, float]:
    """MB of this process now, and at its peak."""
    from ros2_emollama.memory_lines import megabytes_of

    found = megabytes_of(Path("/proc/self/status"))
    return {name: found[kernel] for name, kernel in KINDS.items()}


def _timed(what: Any) -> tuple[Any, float]:
    begun = time.perf_counter()
    return what(), time.perf_counter() - begun


def run_window(folder: Any, encoders: Any, new_frames: int | None = None) -> float:
    """Seconds of one window of noise: frames, scene, sound, fusion. `new_frames` None: all of them, as of a first window; a hop has one."""
    from ros2_emollama.encoding import StreamEncoders

    preset = folder.preset
    streams, rng = StreamEncoders(preset, encoders), np.random.default_rng(0)
    picture = rng.integers(0, 256, (480, 640, 3), np.uint8)
    sound = rng.uniform(-0.1, 0.1, preset.window_samples).astype(np.float32)
    begun = time.perf_counter()
    scene = streams.scene(streams.fit([picture], "scene"))
    frames = np.zeros((1, preset.frame_tokens, preset.vision.width), np.float32)
    if streams.has_frames:
        encoded = streams.frames(streams.fit([picture] * (new_frames or preset.window_frames), "frames"))
        new = np.concatenate([frame.tokens for frame in encoded])
        frames[0, -len(new) :] = new
    tokens, _ = streams.sound(sound, np.ones(preset.window_frames, bool))
    streams.fuse(
        {
            "frame_tokens": frames,
            "frame_mask": np.ones((1, preset.window_frames), np.float32),
            "scene_tokens": scene["tokens"],
            "scene_cls": scene["cls"],
            "audio_tokens": tokens,
            "audio_mask": np.ones((1, preset.audio.tokens), np.float32),
            "utterances": np.zeros((1, preset.prefix.utterances, preset.audio.width), np.float32),
        }
    )
    return time.perf_counter() - begun


def run_language(folder: Any, session: Any, tokens: int = TOKENS) -> dict[str, float]:
    """A window's prompt, and words after it."""
    from ros2_emollama.model.sizes import prompt_positions

    prompt = prompt_positions(folder.preset)
    rows = 0.02 * np.random.default_rng(0).standard_normal((prompt, folder.preset.llama.hidden)).astype(np.float32)
    session.rewind(0)
    logits, first = _timed(lambda: session.extend(rows))
    begun = time.perf_counter()
    for _ in range(tokens):
        logits = session.extend(session.embed(np.array([int(logits.argmax())])))
    return {"first_token_seconds": first, "tokens_per_second": tokens / (time.perf_counter() - begun)}


def measure_here(model: Path, runtime: str, threads: int, rounds: int) -> dict[str, Any]:
    """In this process: see `measure`."""
    import ros2_emollama.encoding
    import ros2_emollama.runtime.onnx_runtime  # noqa: F401 - what every process has, whatever the model
    from ros2_emollama.model.folder import open_folder
    from ros2_emollama.runtime.factory import open_language, open_runtime

    folder, started = open_folder(model), taken()
    opened, seconds = _timed(
        lambda: open_runtime(folder, runtime, threads) if folder.manifest.graphs else (None, open_language(folder, runtime, threads))
    )
    encoders, session = opened
    report: dict[str, Any] = {"model": folder.model_id, "load_seconds": seconds, "started": started, "loaded": taken()}
    report["runs_on"] = {"encoders": encoders and encoders.name, "language": session and session.name}
    if encoders is not None:
        report["window_seconds"] = min(run_window(folder, encoders) for _ in range(rounds))
    if session is not None:
        report |= run_language(folder, session)
    return {**report, "used": taken()}


def measure(model: Path, runtime: str = "onnxruntime", threads: int = 1, rounds: int = 1) -> dict[str, Any]:
    """Load and use a folder in a process of its own. RuntimeError with its last line where it fails."""
    given = ["--model", str(model), "--runtime", runtime, "--threads", str(threads), "--rounds", str(rounds), "--here"]
    done = subprocess.run([sys.executable, "-m", "benchmarks.memory", *given], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}: is memory too small?"])[-1])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=Path("models/nano"), metavar="DIR", help="model folder (%(default)s)")
    parser.add_argument("--runtime", default="onnxruntime", help="one of model.runtime's (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="windows; the quickest is told (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(argv: list[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    given = (arguments.model, arguments.runtime, arguments.threads, arguments.rounds)
    if arguments.here:
        print(json.dumps(measure_here(*given)))
        return 0
    try:
        report = measure(*given)
    except (RuntimeError, OSError) as error:
        print(f"memory: {error}", file=sys.stderr)
        return 2
    tell(report, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
