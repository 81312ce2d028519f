"""Small random LLaMAs in Hugging Face form, each with something that not all have."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ros2_emollama.reasoner.prompt import train_tokenizer

PLAIN = {"rope_theta": 10000.0, "rope_type": "default"}
LLAMA3 = {
    "rope_theta": 500000.0,
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,  # short, so that the few positions of a test are turned by slowed waves
}
VARIANTS: dict[str, dict[str, Any]] = {
    "llama 2": {},
    "grouped queries, llama 3 positions, tied": {"num_key_value_heads": 2, "rope_parameters": LLAMA3, "tie_word_embeddings": True},
    "linear positions, biases": {
        "rope_parameters": {**PLAIN, "rope_type": "linear", "factor": 4.0},
        "attention_bias": True,
        "mlp_bias": True,
    },
    "a head size of its own": {"head_dim": 32, "num_key_value_heads": 1},
}


def make_llama(folder: Path, variant: str = "llama 2", shard: str = "5GB") -> LlamaForCausalLM:
    """Save one with its tokenizer, and return it."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 320}
    config = LlamaConfig(**{**sizes, "max_position_embeddings": 256, "rope_parameters": PLAIN, **VARIANTS[variant]})
    model = LlamaForCausalLM(config).eval()
    for name, value in model.named_parameters():
        if name.endswith("bias") or "norm" in name:
            torch.nn.init.normal_(value, 1.0 if "norm" in name else 0.0, 0.1)  # ones and zeros would hide that they are left out
    model.save_pretrained(folder, max_shard_size=shard)
    train_tokenizer(["plain words"], 300).save(str(folder / "tokenizer.json"))
    return model


def copy_of(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target))
