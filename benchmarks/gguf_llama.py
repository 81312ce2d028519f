"""The same random LLaMA for llama.cpp: Hugging Face safetensors → one GGUF file, every matrix in Q4_0 (4.5 bits a weight).

Runs in the environment that has llama-cpp-python, with `gguf` and `safetensors` beside it: python -m benchmarks.gguf_llama HF_DIR FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open

LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write_gguf(source: Path, target: Path) -> None:
    """Tensors are quantised one at a time, but held until the end, in 4 bits."""
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    files = json.loads((source / "model.safetensors.index.json").read_text(encoding="utf-8"))["weight_map"]
    heads, keys = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(str(target), "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(keys)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    names = {f"{name}.weight": f"{short}.weight" for name, short in OUTSIDE.items()}
    for layer in range(config["num_hidden_layers"]):
        names |= {f"model.layers.{layer}.{name}.weight": f"blk.{layer}.{short}.weight" for name, short in LAYER.items()}
    for name, short in names.items():
        with safe_open(str(source / files[name]), framework="np") as file:
            values = file.get_tensor(name).astype(np.float32)
        if values.ndim == 1:
            writer.add_tensor(short, values)
            continue
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            values = neighbours(values, heads if name.endswith("q_proj.weight") else keys)
        kind = gguf.GGMLQuantizationType.Q4_0
        writer.add_tensor(short, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def neighbours(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp turns neighbouring outputs of a head together, Hugging Face outputs half a head apart."""
    halves = weight.reshape(heads, 2, -1, weight.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


if __name__ == "__main__":
    write_gguf(Path(sys.argv[1]), Path(sys.argv[2]))
