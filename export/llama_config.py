"""What a Hugging Face config.json says of a LLaMA, as the numbers its graph is built from. No torch.

Any LLaMA architecture: grouped queries, a head size of its own, biases, tied embeddings; rotary positions plain, `linear` or `llama3`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LONGEST_CONTEXT = 4096  # positions of the rotary table unless more are asked for: Llama 3's own 131072 would weigh 64 MB


class QuantizeError(ValueError):
    """These weights cannot be quantised so; the message names the rule and the cure."""


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes are numbers of elements; `context` is how many positions the rotary table has; `rope` what config.json says of it."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocab: int
    context: int
    rms_norm_eps: float
    rope: dict[str, Any]
    tied: bool
    attention_bias: bool
    mlp_bias: bool

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """(outputs, inputs) of each matrix of a layer, by its name in the checkpoint."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        return {
            "self_attn.q_proj": (queries, self.hidden),
            "self_attn.k_proj": (keys, self.hidden),
            "self_attn.v_proj": (keys, self.hidden),
            "self_attn.o_proj": (self.hidden, queries),
            "mlp.gate_proj": (self.intermediate, self.hidden),
            "mlp.up_proj": (self.intermediate, self.hidden),
            "mlp.down_proj": (self.hidden, self.intermediate),
        }

    @property
    def weights(self) -> int:
        """Weights in matrices: what is quantised."""
        return self.layers * sum(n * k for n, k in self.matrices.values()) + self.vocab * self.hidden

    def rotary(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """(context, head_size / 2) cosines and sines."""
        angles = np.outer(np.arange(self.context, dtype=np.float64), inverse_frequencies(self.rope, self.head_size))
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def read_config(source: Path, context: int | None = None) -> LlamaConfig:
    """Of a Hugging Face folder. QuantizeError where it is no LLaMA; OSError where it cannot be read."""
    path = source / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return _checked(path, found, context)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise QuantizeError(f"{path} is no LLaMA's config ({error}); give --llama a folder in Hugging Face form") from error


def _checked(path: Path, found: dict[str, Any], context: int | None) -> LlamaConfig:
    if found.get("model_type") != "llama" or found.get("hidden_act", "silu") != "silu":
        what = f"{found.get('model_type')} with {found.get('hidden_act', 'silu')}"
        raise QuantizeError(f"{path} is of another architecture ({what}); only LLaMA with silu can be quantised here")
    rope = dict(found.get("rope_parameters") or found.get("rope_scaling") or {})
    rope.setdefault("rope_theta", found.get("rope_theta", 10000.0))
    rope.setdefault("rope_type", rope.get("type", "default"))
    longest = int(found["max_position_embeddings"])
    if context is not None and not 0 < context <= longest:
        raise QuantizeError(f"--context must be in [1, {longest}] for {path}, got {context}")
    heads, hidden = int(found["num_attention_heads"]), int(found["hidden_size"])
    config = LlamaConfig(
        hidden=hidden,
        layers=int(found["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(found.get("num_key_value_heads") or heads),
        head_size=int(found.get("head_dim") or hidden // heads),
        intermediate=int(found["intermediate_size"]),
        vocab=int(found["vocab_size"]),
        context=context or min(longest, LONGEST_CONTEXT),
        rms_norm_eps=float(found["rms_norm_eps"]),
        rope=rope,
        tied=bool(found.get("tie_word_embeddings", False)),
        attention_bias=bool(found.get("attention_bias", False)),
        mlp_bias=bool(found.get("mlp_bias", False)),
    )
    if config.heads % config.kv_heads or config.head_size % 2:
        rule = "heads must be a multiple of key heads and the head size even"
        raise QuantizeError(f"{path}: {rule}, got {config.heads}, {config.kv_heads} and {config.head_size}")
    inverse_frequencies(rope, config.head_size)  # an unknown kind is refused before anything is written
    return config


def check_blocks(config: LlamaConfig, block_size: int) -> None:
    """QuantizeError unless every quantised matrix has a whole number of blocks a row."""
    widths = {"hidden_size": config.hidden, "intermediate_size": config.intermediate, "heads · head_dim": config.heads * config.head_size}
    for what, width in widths.items():
        if width % block_size:
            fitting = [size for size in (16, 32, 64, 128, 256) if not any(other % size for other in widths.values())]
            cure = f"choose --block-size {' or '.join(map(str, fitting))}" if fitting else "pad the weights"
            raise QuantizeError(f"block size {block_size} does not divide {what} {width}; {cure}")


def inverse_frequencies(rope: dict[str, Any], head_size: int) -> npt.NDArray[np.float64]:
    """(head_size / 2,) radians a position. QuantizeError for a kind of scaling that changes with the text's length.

    `llama3` as in Llama 3.1's released model code: long waves are slowed by `factor`, short ones left, those between blended.
    """
    plain = 1.0 / float(rope["rope_theta"]) ** (np.arange(0, head_size, 2, dtype=np.float64) / head_size)
    kind = rope["rope_type"]
    if kind == "default":
        return np.asarray(plain)
    if kind == "linear":
        return np.asarray(plain / float(rope["factor"]))
    if kind != "llama3":
        raise QuantizeError(f"rotary scaling {kind!r} is not known here; default, linear and llama3 are")
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    turns = float(rope["original_max_position_embeddings"]) * plain / (2 * math.pi)  # of each wave within the original context
    share = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return np.asarray((1 - share) * plain / float(rope["factor"]) + share * plain)
