"""What fits which board, and how fast it could be at best: the memory plan and two divisions. Writes the tables of docs/DEPLOY.md.

    python -m benchmarks.boards                 prints them
    python -m benchmarks.boards --write         puts them between the marks of docs/DEPLOY.md

Nothing here was measured on a board. Bounds: a token cannot come faster than its weights and cache are read from memory, a hop not faster
than its multiplications at the data sheet's float32 rate; what real programs reach of that is less.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

from ros2_emollama.model.presets import EMOTION_LLAMA, EMOTION_LLAMA_V2, NANO, Preset
from ros2_emollama.model.sizes import cache_numbers, graph_weights, prompt_positions
from ros2_emollama.model.streams import EvaPreset, HubertPreset, WhisperPreset
from ros2_emollama.runtime.memory_plan import MB, MemoryPlan, Room, Setup, four_bits, plan_memory

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "DEPLOY.md"
BEGIN, END = "<!-- {}: python -m benchmarks.boards --write -->", "<!-- end -->"
GB = 1 << 30
JETSON_SHARE = 0.85  # assumed: of its memory that system, ROS and cameras leave
CARD_SPARE_GB = 0.7  # assumed: what a desktop takes of a card
HOST_GB = 32  # assumed: memory of a machine with a card


@dataclass(frozen=True)
class Board:
    """`memory_gb` and the two rates are of data sheets; `card`: memory of its own, else shared with the host; `gpu` False: a CPU."""

    name: str
    memory_gb: float
    bandwidth_gb_s: float
    float32_tflops: float
    card: bool = False
    gpu: bool = True

    @property
    def room(self) -> Room:
        if not self.gpu:
            return Room(int(JETSON_SHARE * self.memory_gb * GB))
        if self.card:
            return Room(int(JETSON_SHARE * HOST_GB * GB), gpu=int((self.memory_gb - CARD_SPARE_GB) * GB))
        return Room(int(JETSON_SHARE * self.memory_gb * GB), unified=True)

    @property
    def runtime(self) -> str:
        return "tensorrt" if self.gpu else "onnxruntime"


BOARDS = (
    Board("Jetson AGX Thor, 128 GB", 128, 273, 8.0),
    Board("Jetson AGX Orin, 64 GB", 64, 204.8, 5.3),
    Board("Jetson AGX Orin, 32 GB", 32, 204.8, 3.3),
    Board("Jetson Orin NX, 16 GB", 16, 102.4, 1.9),
    Board("Jetson Orin Nano, 8 GB", 8, 68.0, 1.3),
    Board("GeForce RTX 4090, 24 GB", 24, 1008, 82.6, card=True),
    Board("GeForce RTX 4070, 12 GB", 12, 504, 29.1, card=True),
    Board("CPU, 8 cores, two channels DDR5-5600, 32 GB", 32, 89.6, 1.0, gpu=False),
)
MODELS = (NANO, EMOTION_LLAMA, EMOTION_LLAMA_V2)


def verdict(board: Board, preset: Preset) -> str:
    """Whether a model fits, and what makes it fit."""
    whole = Setup(preset, board.runtime)
    if not board.room.lacks(plan_memory(whole)):
        return "fits"
    for setup, text in (
        (dataclasses.replace(whole, block_size=128), "fits with blocks of 128"),
        (dataclasses.replace(whole, language=False), "fits with `reasoner.mode: remote`"),
    ):
        if not board.room.lacks(plan_memory(setup)):
            return text
    return f"no: {board.room.lacks(plan_memory(dataclasses.replace(whole, language=False))) / GB:.1f} GB are missing even without the LLaMA"


def hop_operations(preset: Preset) -> float:
    """Floating-point operations of a hop, about: one new frame, the scene, the sound. Two a weight and position, and attention's own."""
    weights, vision, audio = graph_weights(preset), preset.vision, preset.audio
    if not isinstance(vision, EvaPreset):
        return float("nan")  # nano is bound by what lies around its products
    total = 0.0
    frames = (
        ((1 + vision.frame_patches, weights["vision_blocks"] + weights["frame_tokens"], vision.frame_blocks),)
        if vision.frame_blocks
        else ()
    )
    for length, held, blocks in ((1 + vision.scene_patches, weights["vision_blocks"], vision.scene_blocks), *frames):
        total += 2.0 * length * held + 4.0 * length * length * vision.width * blocks
    length = audio.columns // 2 if isinstance(audio, WhisperPreset) else preset.window_samples // 320
    assert isinstance(audio, (WhisperPreset, HubertPreset))
    return total + 2.0 * length * weights["audio_encoder"] + 4.0 * length * length * audio.width * audio.layers


def token_bytes(preset: Preset, gpu: bool) -> float:
    """What one token reads: the 4-bit matrices with scales, and the cache of a window's prompt."""
    width = 2 if gpu else 4
    return four_bits(Setup(preset), width) + width * cache_numbers(preset.llama, prompt_positions(preset))


def size(plan: MemoryPlan, place: str) -> str:
    return f"{plan.of(place) / GB:.1f}"


def plan_table() -> str:
    lines = ["| model | runtime | GPU, GB | host, GB | for a moment while loading, GB |", "|---|---|---|---|---|"]
    for preset in MODELS:
        for runtime in ("tensorrt", "onnxruntime_cuda", "onnxruntime"):
            for language in (True, False):
                plan = plan_memory(Setup(preset, runtime, language=language))
                what = f"`{preset.name}`" + ("" if language else ", LLaMA elsewhere")
                cells = (
                    what,
                    runtime,
                    size(plan, "gpu") if plan.of("gpu") else "",
                    size(plan, "host"),
                    f"{plan.loading / GB:.1f}" if plan.loading > 64 * MB else "",
                )
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def board_table() -> str:
    lines = [f"| board | {' | '.join(f'`{preset.name}`' for preset in MODELS)} |", f"|---|{'---|' * len(MODELS)}"]
    lines += [f"| {board.name} | {' | '.join(verdict(board, preset) for preset in MODELS)} |" for board in BOARDS]
    return "\n".join(lines)


def rate_table() -> str:
    v2 = EMOTION_LLAMA_V2
    lines = [
        "| board | memory, GB/s | float32, TFLOPS | 7B in 4 bits: tokens/s at most | a hop of v2: s at least | `hop_ticks` at least |",
        "|---|---|---|---|---|---|",
    ]
    tick = v2.window_seconds / v2.window_frames
    for board in BOARDS:
        tokens = board.bandwidth_gb_s * 1e9 / token_bytes(v2, board.gpu)
        hop = hop_operations(v2) / board.float32_tflops / 1e12
        ticks = max(1, -(-hop // tick))
        cells = (
            board.name,
            f"{board.bandwidth_gb_s:g}",
            f"{board.float32_tflops:g}",
            f"{tokens:.0f}",
            f"{hop:.2f}",
            f"{ticks:.0f}" if ticks <= 16 else "more than there are",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES = {"plans": plan_table, "boards": board_table, "rates": rate_table}


def written(text: str) -> str:
    """The document with its tables made anew. ValueError where a mark is missing."""
    for name, make in TABLES.items():
        begin = BEGIN.format(name)
        if begin not in text:
            raise ValueError(f"{DOCUMENT} has no mark {begin}; put it back, with {END} after it")
        before, _, after = text.partition(begin)
        _, _, rest = after.partition(END)
        text = f"{before}{begin}\n{make()}\n{END}{rest}"
    return text


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.boards", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{DOCUMENT.name}")
    arguments = parser.parse_args(argv)
    if not arguments.write:
        print("\n\n".join(make() for make in TABLES.values()))
        return 0
    try:
        DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"boards: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
