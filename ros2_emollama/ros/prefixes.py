"""Prefixes ↔ messages: what one machine's encoders made for another machine's language model. Pure: no rclpy, no node.

Half floats carry it: a window of Emotion-LLaMAv2 (448 rows of 4,096) is 3.7 MB. One row of NaN marks where words of the model's own prompt
stand inside the prefix, which only the language model's machine can embed.
"""

from __future__ import annotations

import array
from typing import Any

import numpy as np

from ..model.folder import ModelFolder
from ..types import Float32
from . import conversions

LARGEST_HALF = 65504.0


def own_words(hidden: int) -> Float32:
    """(1, hidden): the row that marks their place."""
    return np.full((1, hidden), np.nan, np.float32)


def prefix_to_message(message: Any, prefix: Float32, model_id: str, stamp_ns: int) -> Any:
    """(P, hidden) float32 -> emollama/Prefix. Numbers too large for a half are cut to the largest one."""
    conversions.set_stamp(message.header.stamp, stamp_ns)
    message.model_id = model_id
    message.tokens, message.width = prefix.shape
    halves = np.clip(prefix, -LARGEST_HALF, LARGEST_HALF).astype("<f2")
    data = array.array("B")
    data.frombytes(halves.data.cast("B"))
    message.data = data
    return message


def prefix_from_message(message: Any, folder: ModelFolder, model_id: str, after_scene: Float32) -> Float32:
    """emollama/Prefix -> (P, hidden) float32, the model's own words (M, hidden) put in their place. ValueError with the cure."""
    preset, tokens, width = folder.preset, int(message.tokens), int(message.width)
    if message.model_id != model_id:
        raise ValueError(
            f"the prefix was made by {message.model_id[:80]!r}, this reasoner runs {model_id!r}; copy the model folder of one machine to "
            "the other"
        )
    if width != preset.llama.hidden or not 1 <= tokens <= preset.prefix.tokens + 1 or len(message.data) != 2 * tokens * width:
        raise ValueError(
            f"a prefix of {tokens} x {width} in {len(message.data)} bytes does not fit {model_id}, which takes up to "
            f"{preset.prefix.tokens} x {preset.llama.hidden}; run the same version of emollama on both machines"
        )
    rows = np.frombuffer(memoryview(message.data).cast("B"), "<f2").reshape(tokens, width).astype(np.float32)
    odd = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(odd) > 1 or not np.isnan(rows[odd]).all():
        raise ValueError(f"the prefix holds numbers that are not finite in {len(odd)} rows; see the perception node's log")
    if not len(odd):
        return rows
    return np.concatenate([rows[: odd[0]], after_scene, rows[odd[0] + 1 :]])
