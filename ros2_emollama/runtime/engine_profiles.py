"""Which shapes each engine is built for: least, likeliest and largest, from the preset alone.

The language model's graph, in the form that TensorRT takes (T new positions, P held ones):

    inputs_embeds (1, T, hidden), position_ids (1, T), attention_mask (1, P + T),
    past_key_values.N.key and .value (1, kv heads, P, head size)
    → logits, present.N.key and .value (1, kv heads, P + T, head size)

P is always a whole number of steps, the mask says which of them are real: so decoding has one shape for a whole step, which a CUDA graph
can hold, and going back is forgetting a number.
"""

from __future__ import annotations

import math

from ..model.graphs import GraphSpec, free_sizes
from ..model.presets import Preset
from ..model.streams import LlamaPreset

PAST_STEP = 128  # positions
LONGEST_CHUNK = 256  # positions computed at once; a longer prompt is given in pieces

Shapes = dict[str, list[list[int]]]


def encoder_profiles(spec: GraphSpec, preset: Preset) -> tuple[Shapes, ...]:
    """One profile, of the sizes that graphs.free_sizes gives; none where no size is free."""
    sizes = free_sizes(preset)
    free = [tensor for tensor in spec.inputs if any(isinstance(size, str) for size in tensor.shape)]
    if not free:
        return ()

    def filled(shape: tuple[int | str, ...], which: int) -> list[int]:
        return [sizes[size][which] if isinstance(size, str) else size for size in shape]

    return ({tensor.name: [filled(tensor.shape, which) for which in range(3)] for tensor in free},)


def past_room(positions: int) -> int:
    """Positions held, rounded up to whole steps; at least one step."""
    return PAST_STEP * max(1, math.ceil(positions / PAST_STEP))


def language_profiles(preset: LlamaPreset) -> tuple[Shapes, Shapes]:
    """For a prompt's pieces, and for decoding one position at a time."""
    longest = min(LONGEST_CHUNK, preset.context)
    held = [PAST_STEP, past_room(preset.context // 2), past_room(preset.context)]
    return tuple(  # type: ignore[return-value]
        _language_shapes(preset, news, held) for news in ([1, longest, longest], [1, 1, 1])
    )


def _language_shapes(preset: LlamaPreset, news: list[int], held: list[int]) -> Shapes:
    head = preset.hidden // preset.heads
    shapes: Shapes = {
        "inputs_embeds": [[1, new, preset.hidden] for new in news],
        "position_ids": [[1, new] for new in news],
        "attention_mask": [[1, past + new] for past, new in zip(held, news, strict=True)],
    }
    for layer in range(preset.layers):
        for what in ("key", "value"):
            shapes[f"past_key_values.{layer}.{what}"] = [[1, preset.kv_heads, past, head] for past in held]
    return shapes
