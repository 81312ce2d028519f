"""Does a model fit this machine? The memory plan of each runtime against what is free, and what to change.

A model need not be here: a preset's name is enough, so that one knows before 14 GB are fetched.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..config import Config
from ..model.folder import ModelFolder, ModelFolderError, find_model, open_folder
from ..model.presets import PRESETS, Preset
from ..model.sizes import llama_matrices
from ..runtime.gpu import FreeMemory, free_memory
from ..runtime.memory_plan import MB, PLANNED, Change, MemoryPlan, Room, Setup, changes, plan_memory
from .finding import Finding, note, ok, problem
from .machine import Machine
from .packages import found

LITTLE = 0.2  # of a plan: it may be wrong by that much (tests/runtime/test_memory_plan.py)
BLOCK_SIZES = (16, 32, 64, 128, 256)
ASKED = Callable[[], "FreeMemory | None"]


@dataclass(frozen=True)
class Judged:
    """A runtime's plan on a machine."""

    setup: Setup
    plan: MemoryPlan
    lacks: int
    possible: bool

    @property
    def fits(self) -> bool:
        return self.possible and not self.lacks


def setup_of(config: Config) -> Setup:
    """The configured model, a folder's or a preset's. ModelFolderError where it is neither."""
    language = config.reasoner.enabled and config.reasoner.mode == "local"
    try:
        folder = open_folder(find_model(config.model.path))
    except ModelFolderError as error:
        if config.model.path not in PRESETS:
            text, _, cure = str(error).rpartition("; ")
            raise ModelFolderError(f"{text}, and no preset ({', '.join(PRESETS)}); {cure}") from error
        return Setup(PRESETS[config.model.path], language=language or not PRESETS[config.model.path].has_head)
    speaks = language and bool({"graph", "tensorrt", "weights"} & set(folder.manifest.language))
    return Setup(folder.preset, block_size=_block_size(folder), half=_half(folder), language=speaks)


def _half(folder: ModelFolder) -> bool:
    return bool(folder.manifest.info.get("language_half", False))


def _block_size(folder: ModelFolder) -> int:
    """By the bits a weight that the manifest tells; 32 where it does not, as quantisation would take."""
    info = folder.manifest.info
    bits = info.get("language_bits_per_weight", info.get("bits_per_weight"))
    if not isinstance(bits, (int, float)) or not 4 < bits < 8:
        return 32
    wanted = (16 if _half(folder) else 32) / (bits - 4)
    return min(BLOCK_SIZES, key=lambda size: abs(size - wanted))


def room_of(machine: Machine, ask_gpu: ASKED = free_memory) -> tuple[Room, str]:
    """What is free here, and that in words. ModelFolderError where the kernel does not say."""
    available = machine.memory_mb("MemAvailable")
    if available is None:
        raise ModelFolderError("/proc/meminfo cannot be read: nobody knows what is free; look yourself: free -m")
    host = int(available * MB)
    if machine.is_jetson:
        return Room(host, unified=True), f"{available:.0f} MB available to CPU and GPU together (Jetson)"
    gpu = ask_gpu()
    if gpu is None:
        return Room(host), f"{available:.0f} MB of memory available, no NVIDIA GPU"
    how = "free" if gpu.is_free else "in all (NVML does not say what is free)"
    return Room(host, gpu.bytes), f"{available:.0f} MB of memory available; GPU {gpu.name}: {gpu.bytes / MB:.0f} MB {how}"


def judge(setup: Setup, room: Room) -> list[Judged]:
    """Every runtime, the fastest first."""
    judged = []
    for runtime in PLANNED:
        asked = dataclasses.replace(setup, runtime=runtime)
        plan = plan_memory(asked)
        judged.append(Judged(asked, plan, room.lacks(plan), room.has_place_for(runtime)))
    return judged


def chosen(config: Config, room: Room, has: Callable[[str], bool] = found) -> str:
    """The runtime that would serve, one of PLANNED."""
    name = config.model.runtime
    if name == "onnxruntime_tensorrt":
        return "onnxruntime_cuda"
    if name != "auto":
        return name
    if not room.has_place_for("tensorrt"):
        return "onnxruntime"
    return "tensorrt" if has("tensorrt") or has("tensorrt_rtx") else "onnxruntime_cuda"


def examine(config: Config, machine: Machine, ask_gpu: ASKED = free_memory) -> Iterator[Finding]:
    """One finding: the runtime that would serve."""
    try:
        setup = setup_of(config)
        room, text = room_of(machine, ask_gpu)
    except ModelFolderError:  # no model, or no /proc/meminfo: each has its own finding already
        return
    runtime = chosen(config, room)
    one = next(one for one in judge(setup, room) if one.setup.runtime == runtime)
    said = f"{runtime} takes about {one.plan.total / MB:.0f} MB, {text}"
    whole = f"emollama doctor --plan --model {config.model.path}"
    if not one.possible:
        yield problem("memory plan", f"{runtime} needs a GPU, {text}", f"set model.runtime to auto; see: {whole}")
    elif one.lacks:
        way = next((change.text for change in changes(one.setup, room) if not change.lacks), "no option alone suffices")
        yield problem("memory plan", f"{said}: {one.lacks / MB:.0f} MB are missing", f"{way}; see: {whole}")
    elif room.lacks(dataclasses.replace(one.plan, loading=one.plan.loading + int(LITTLE * one.plan.total))):
        yield note("memory plan", f"{said}: it fits, with little to spare", f"see what it is made of: {whole}")
    else:
        yield ok("memory plan", said)


def report(setup: Setup, room: Room, runtime: str) -> dict[str, Any]:
    """All of it for a program; sizes in MB."""
    judged = judge(setup, room)
    return {
        "model": setup.preset.name,
        "block_size": setup.block_size,
        "context": setup.preset.llama.context,
        "language_model": setup.language,
        "available_mb": {"host": room.host // MB, "gpu": None if room.gpu is None else room.gpu // MB, "unified": room.unified},
        "chosen": runtime,
        "runtimes": {
            one.setup.runtime: {
                "fits": one.fits,
                "has_gpu_it_needs": one.possible,
                "lacks_mb": one.lacks // MB,
                "host_mb": one.plan.of("host") // MB,
                "gpu_mb": one.plan.of("gpu") // MB,
                "loading_mb": one.plan.loading // MB,
                "parts": [_in_mb(dataclasses.asdict(part)) for part in one.plan.parts],
            }
            for one in judged
        },
        "changes": [
            {"change": change.text, "total_mb": change.plan.total // MB, "lacks_mb": change.lacks // MB}
            for change in worth_telling(next(one for one in judged if one.setup.runtime == runtime), room)
        ],
    }


def _in_mb(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value // MB if isinstance(value, int) else value for name, value in part.items()}


WORTH = 0.05  # of the whole
COLUMNS = ("weights", "cache", "activations", "workspace", "total")


def table(setup: Setup, room: Room, told: str, runtime: str) -> str:
    """All of it for a person."""
    judged = judge(setup, room)
    lines = [_head(setup.preset, setup), told, "", _row("MB", "", ("weights", "KV cache", *COLUMNS[2:]))]
    for one in judged:
        name = one.setup.runtime
        for place in ("gpu", "host"):
            if parts := [part for part in one.plan.parts if part.place == place]:
                sums = (sum(getattr(part, column) for part in parts) / MB for column in COLUMNS)
                lines.append(_row(name, place, (f"{value:.0f}" for value in sums)))
                name = ""
        lines.append(f"{'':<18}{_verdict(one)}")
    serving = next(one for one in judged if one.setup.runtime == runtime)
    ways = worth_telling(serving, room)
    lines += ["", f"{runtime} would serve here.{' What else could be done:' if ways else ''}"]
    lines += [_way(change) for change in ways]
    return "\n".join(lines)


def _row(name: str, place: str, cells: Iterable[str]) -> str:
    return f"{name:<18}{place:<6}" + "".join(f"{cell:>13}" for cell in cells)


def worth_telling(one: Judged, room: Room) -> list[Change]:
    """Of a plan that fits only what spares a good deal, and no smaller model."""
    ways = changes(one.setup, room)
    return ways if not one.fits else [way for way in ways if way.plan.total < (1 - WORTH) * one.plan.total]


def _head(preset: Preset, setup: Setup) -> str:
    llama = preset.llama
    weights = llama_matrices(llama)
    size = f"{weights / 1e9:.2g}e9" if weights >= 1e8 else f"{weights / 1e6:.2g}e6"
    language = f"language model of {size} weights in 4 bits, block {setup.block_size}, context {llama.context}"
    return f"{preset.name}: {language if setup.language else 'without its language model'}"


def _verdict(one: Judged) -> str:
    loading = f", and {one.plan.loading / MB:.0f} MB more while it loads" if one.plan.loading else ""
    if not one.possible:
        return f"needs a GPU, and there is none{loading}"
    return f"{one.lacks / MB:.0f} MB are missing{loading}" if one.lacks else f"fits{loading}"


def _way(change: Change) -> str:
    fits = "fits" if not change.lacks else f"still lacks {change.lacks / MB:.0f} MB"
    return f"  {change.plan.total / MB:>7.0f} MB, {fits:<22} {change.text}"


def as_json(setup: Setup, room: Room, runtime: str) -> str:
    return json.dumps(report(setup, room, runtime), indent=1)
