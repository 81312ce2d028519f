"""A LLaMA of any shape with random weights, in Hugging Face form: what a runtime costs does not depend on what a model knows.

Written layer by layer in float16, so a 7B needs 14 GB of disk and half a gigabyte of memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tqdm import tqdm

SHAPES: dict[str, dict[str, int]] = {
    "1.1b": {"hidden_size": 2048, "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4, "intermediate_size": 5632},
    "7b": {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 11008},
}
VOCABULARY = 32000


def write_random_llama(folder: Path, *, vocab_size: int = VOCABULARY, context: int = 2048, seed: int = 0, **sizes: int) -> None:
    """`sizes` by their names in config.json. A tokenizer without words lies beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab_size,
        "num_key_value_heads": sizes["num_attention_heads"],
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": context,
        "torch_dtype": "float16",
        **sizes,
    }
    head = sizes["hidden_size"] // sizes["num_attention_heads"]
    hidden, keys, wide = sizes["hidden_size"], config["num_key_value_heads"] * head, sizes["intermediate_size"]
    rng = np.random.default_rng(seed)
    table: dict[str, str] = {}

    def save(number: int, tensors: dict[str, npt.NDArray[np.float16]]) -> None:
        file = f"model-{number:05d}-of-{sizes['num_hidden_layers'] + 1:05d}.safetensors"
        save_file(tensors, folder / file, {"format": "pt"})
        table.update(dict.fromkeys(tensors, file))

    def matrix(outputs: int, inputs: int) -> npt.NDArray[np.float16]:
        return (rng.standard_normal((outputs, inputs), np.float32) * np.float32(0.02)).astype(np.float16)

    ones = np.ones(hidden, np.float16)
    outside = ("model.embed_tokens.weight", "lm_head.weight")
    save(1, {**{name: matrix(vocab_size, hidden) for name in outside}, "model.norm.weight": ones})
    shapes = {"q": (hidden, hidden), "k": (keys, hidden), "v": (keys, hidden), "o": (hidden, hidden)}
    for layer in tqdm(range(sizes["num_hidden_layers"]), desc="random weights", unit="layer"):
        place = f"model.layers.{layer}."
        tensors = {f"{place}self_attn.{name}_proj.weight": matrix(*shape) for name, shape in shapes.items()}
        for name, shape in {"gate": (wide, hidden), "up": (wide, hidden), "down": (hidden, wide)}.items():
            tensors[f"{place}mlp.{name}_proj.weight"] = matrix(*shape)
        save(layer + 2, tensors | {f"{place}{name}_layernorm.weight": ones for name in ("input", "post_attention")})
    index = {"metadata": {}, "weight_map": table}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": {"type": "WordLevel", "vocab": {}, "unk_token": "?"}}))
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
