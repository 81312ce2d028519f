"""What a model takes in each runtime, before anything of it is there: weights, KV cache, activations, workspace; and what to change where
that is too much. Plain arithmetic on a preset's numbers (model/sizes.py).

Measured are the process itself, ONNX Runtime on a CPU and its packed copies (docs/LOG.md; tests hold the plan against a running model).
What CUDA and TensorRT keep for themselves is ASSUMED: no GPU was at hand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from ..model.presets import Preset
from ..model.sizes import cache_numbers, graph_live, graph_weights, llama_live, llama_matrices, llama_rest, prompt_positions
from .engine_profiles import LONGEST_CHUNK, past_room

MB = 1 << 20
PLANNED = ("tensorrt", "onnxruntime_cuda", "onnxruntime", "torch")
"""What is planned of model.runtime. TensorRT of either flavor takes the same; onnxruntime_tensorrt is planned as onnxruntime_cuda."""

PROCESS_BYTES = 150 * MB  # measured, at most: Python, NumPy, OpenCV, ONNX Runtime, PyAV; fewer of their pages where memory is short
TORCH_BYTES = 250 * MB  # measured: what torch and transformers add to it
SESSION_BYTES = 2 * MB  # measured: a session of ONNX Runtime, beside its weights
ARENA = 1.0  # measured: ONNX Runtime's arena grows in powers of two; as much again as what is alive, at worst
CUDA_BYTES = 500 * MB  # assumed: CUDA's context, kernels, and the workspaces of cuBLAS and cuDNN
CUDA_HOST_BYTES = 400 * MB  # assumed: CUDA's libraries in the process
ENGINE_SCRATCH = 0.5  # assumed: tactics' scratch of an engine, as a share of what is alive in it
SPARE = 0.05  # of what is available: what comes and goes beside us


@dataclass(frozen=True)
class Part:
    """Bytes of one part of a model in one place, "host" or "gpu"."""

    name: str
    place: str
    weights: int = 0
    cache: int = 0
    activations: int = 0
    workspace: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.activations + self.workspace


@dataclass(frozen=True)
class MemoryPlan:
    """`loading`: bytes of the host that opening takes for a moment, beyond all parts."""

    runtime: str
    parts: tuple[Part, ...]
    loading: int = 0

    def of(self, place: str) -> int:
        return sum(part.total for part in self.parts if part.place == place)

    @property
    def total(self) -> int:
        return self.of("host") + self.of("gpu")


@dataclass(frozen=True)
class Setup:
    """A model as it would be run.

    block_size  weights of the language model that share a 4-bit scale
    half        ONNX Runtime's language graph is in float16 (export.quantize_llama --half)
    language    the language model runs here; not: reasoner.mode remote, or reasoner.enabled false
    """

    preset: Preset
    runtime: str = "onnxruntime"
    block_size: int = 32
    half: bool = False
    language: bool = True

    def __post_init__(self) -> None:
        if self.runtime not in PLANNED:
            raise ValueError(f"runtime must be one of {', '.join(PLANNED)}, got {self.runtime!r}")


@dataclass(frozen=True)
class Room:
    """What may be taken, in bytes.

    gpu      of the GPU's own memory; None: there is no GPU, or none with memory of its own
    unified  host and GPU take from the same memory, as on a Jetson
    """

    host: int
    gpu: int | None = None
    unified: bool = False

    def lacks(self, plan: MemoryPlan) -> int:
        """Bytes that are missing where most are; 0 where the plan fits."""
        keep = 1 - SPARE
        if self.unified:
            return max(0, plan.total + plan.loading - int(keep * self.host))
        on_host = plan.of("host") + plan.loading - int(keep * self.host)
        on_gpu = plan.of("gpu") - int(keep * (self.gpu or 0)) if plan.of("gpu") else 0
        return max(0, on_host, on_gpu)

    def has_place_for(self, runtime: str) -> bool:
        """Whether there is a GPU for a runtime that needs one."""
        return self.unified or self.gpu is not None or runtime in ("onnxruntime", "torch")


@dataclass(frozen=True)
class Change:
    """One thing to do otherwise, and what it comes to. `lacks`: bytes that are missing even then."""

    text: str
    plan: MemoryPlan
    lacks: int


def plan_memory(setup: Setup) -> MemoryPlan:
    """The parts of a model in its runtime."""
    make = {"tensorrt": _tensorrt, "onnxruntime_cuda": _onnxruntime_cuda, "onnxruntime": _onnxruntime, "torch": _torch}
    return make[setup.runtime](setup)


def four_bits(setup: Setup, scale_bytes: int) -> int:
    """Bytes of the language model's matrices with their scales."""
    return int(llama_matrices(setup.preset.llama) * (0.5 + scale_bytes / setup.block_size))


def _encoders(preset: Preset, place: str, scratch: float) -> Part:
    """float32 everywhere: files keep half floats, runtimes make them whole when they load (model/folder.py)."""
    live = 4 * sum(graph_live(preset).values())
    weights = 4 * sum(graph_weights(preset).values())
    return Part("encoders", place, weights, activations=live, workspace=int(scratch * live))


def _table(setup: Setup) -> int:
    """The embeddings, in half floats beside every graph."""
    return 2 * setup.preset.llama.vocab * setup.preset.llama.hidden


def _onnx_language(setup: Setup, place: str) -> Part:
    """On a CPU the packed form of a matrix holds, beside each block's scale, the sum of its weights."""
    llama, width = setup.preset.llama, 2 if setup.half else 4
    live = width * llama_live(llama, prompt_positions(setup.preset))
    weights = four_bits(setup, 2 * width if place == "host" else width) + width * llama_rest(llama)
    return Part("language model", place, weights, width * cache_numbers(llama, llama.context), live, int(ARENA * live))


def _sessions(setup: Setup) -> int:
    return SESSION_BYTES * (len(graph_weights(setup.preset)) + setup.language)


def _onnxruntime(setup: Setup) -> MemoryPlan:
    parts = [Part("process", "host", PROCESS_BYTES, workspace=_sessions(setup)), _encoders(setup.preset, "host", ARENA)]
    if setup.language:
        parts += [_onnx_language(setup, "host"), Part("embeddings", "host", _table(setup))]
    return MemoryPlan("onnxruntime", tuple(parts), loading=max(graph_weights(setup.preset).values()))  # measured: a byte a weight


def _onnxruntime_cuda(setup: Setup) -> MemoryPlan:
    parts = [
        Part("process", "host", PROCESS_BYTES + CUDA_HOST_BYTES, workspace=_sessions(setup)),
        Part("CUDA", "gpu", workspace=CUDA_BYTES),
        _encoders(setup.preset, "gpu", ARENA),
    ]
    if setup.language:
        parts += [_onnx_language(setup, "gpu"), Part("embeddings", "host", _table(setup))]
    return MemoryPlan("onnxruntime_cuda", tuple(parts), loading=2 * max(graph_weights(setup.preset).values()))


def _tensorrt(setup: Setup) -> MemoryPlan:
    """tensorrt_runtime.py: past and present are two buffers of halves, prefill and decoding share them; an engine is read whole first."""
    encoders = _encoders(setup.preset, "gpu", ENGINE_SCRATCH)
    parts = [Part("process", "host", PROCESS_BYTES + CUDA_HOST_BYTES), Part("CUDA", "gpu", workspace=CUDA_BYTES), encoders]
    engine = 4 * max(graph_weights(setup.preset).values())
    if setup.language:
        llama = setup.preset.llama
        chunk = min(LONGEST_CHUNK, llama.context)
        room = past_room(llama.context)
        live = 2 * (llama_live(llama, chunk) + chunk * llama.vocab)
        held = 2 * (cache_numbers(llama, room) + cache_numbers(llama, room + chunk))
        weights = four_bits(setup, 2) + 2 * llama_rest(llama)
        engine = max(engine, weights)
        parts += [
            Part("language model", "gpu", weights, held, live, int(ENGINE_SCRATCH * live)),
            Part("embeddings", "host", _table(setup)),
        ]
    return MemoryPlan("tensorrt", tuple(parts), loading=engine)


def _torch(setup: Setup) -> MemoryPlan:
    """On the CPU, all in float32, nothing quantised: to compare with, not for a robot."""
    llama = setup.preset.llama
    parts = [Part("process", "host", PROCESS_BYTES + TORCH_BYTES), _encoders(setup.preset, "host", 0.0)]
    if setup.language:
        positions = prompt_positions(setup.preset)
        weights = 4 * (llama_matrices(llama) + llama_rest(llama) + llama.vocab * llama.hidden)
        parts.append(Part("language model", "host", weights, 4 * cache_numbers(llama, positions), 4 * llama_live(llama, positions)))
    return MemoryPlan("torch", tuple(parts))


def changes(setup: Setup, room: Room) -> list[Change]:
    """What may be done otherwise with an effect on memory: what suffices first, then what spares most."""
    found = [Change(text, plan, room.lacks(plan)) for text, other in _alternatives(setup, room) for plan in [plan_memory(other)]]
    now = plan_memory(setup)
    better = [change for change in found if change.lacks < room.lacks(now) or change.plan.total < now.total]
    return sorted(better, key=lambda change: change.lacks)


def _alternatives(setup: Setup, room: Room) -> Iterator[tuple[str, Setup]]:
    """From what costs a user least to what costs most."""
    preset, llama = setup.preset, setup.preset.llama
    least = past_room(preset.prefix.tokens + 192)  # prompt and answer
    for context in (1024, 512):
        if setup.language and least <= context < llama.context:
            smaller = dataclasses.replace(preset, llama=dataclasses.replace(llama, context=context))
            yield f"a shorter context: --context {context} at import and quantisation", dataclasses.replace(setup, preset=smaller)
            break
    for block in (64, 128):
        if setup.language and setup.runtime != "torch" and setup.block_size < block:
            yield f"larger blocks: --block-size {block} at quantisation, at some accuracy", dataclasses.replace(setup, block_size=block)
    if setup.language and setup.runtime == "onnxruntime_cuda" and not setup.half:
        yield "half floats in the language model's graph: export.quantize_llama --half", dataclasses.replace(setup, half=True)
    for runtime in PLANNED:
        if runtime not in (setup.runtime, "torch") and room.has_place_for(runtime):
            yield f"another runtime: model.runtime {runtime}", dataclasses.replace(setup, runtime=runtime)
    if setup.language:
        elsewhere = "the language model on another machine: reasoner.mode remote"
        yield elsewhere, dataclasses.replace(setup, language=False)
        if preset.has_head:
            yield "labels only: reasoner.enabled false", dataclasses.replace(setup, language=False)
        if room.lacks(plan_memory(setup)):
            layers = _layers_that_fit(setup, room)
            if layers:
                cut = dataclasses.replace(preset, llama=dataclasses.replace(llama, layers=layers))
                weights = llama_matrices(cut.llama) / 1e9
                text = f"a smaller language model: trained with one of at most {layers} layers of this width ({weights:.1f}e9 weights)"
                yield text, dataclasses.replace(setup, preset=cut)


def _layers_that_fit(setup: Setup, room: Room) -> int:
    """The largest number of layers below today's with which all fits; 0 where none does."""
    llama = setup.preset.llama
    for layers in range(llama.layers - 1, 0, -1):
        cut = dataclasses.replace(setup.preset, llama=dataclasses.replace(llama, layers=layers))
        if not room.lacks(plan_memory(dataclasses.replace(setup, preset=cut))):
            return layers
    return 0
