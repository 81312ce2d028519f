"""Checkpoints with the published key names and the published relations of shapes, at reduced depth and width, with random weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers
from torch import Tensor

from ros2_emollama.model.eva import EvaTower
from ros2_emollama.model.fusion import ConvAttention
from ros2_emollama.model.streams import EvaPreset, FusionPreset, LlamaPreset
from ros2_emollama.reasoner.published import SENTENCE, TASKS_V1, TASKS_V2

WIDTH, SOUND, UTTERANCE, HIDDEN, LAYERS, RANK = 88, 32, 48, 64, 2, 4
VOCABULARY = 400


@dataclass(frozen=True)
class Files:
    """Where each part lies."""

    checkpoint: Path
    eva: Path
    audio: Path
    llama: Path

    def arguments(self, preset: str, output: Path, *more: str) -> list[str]:
        given = ["--preset", preset, "--checkpoint", self.checkpoint, "--eva", self.eva, "--audio", self.audio, "--llama", self.llama]
        return [str(value) for value in (*given, "--output", output, "--eva-blocks", "1", *more)]


def fabricate(root: Path, preset: str, blocks: int = 2, adapter: str = "", norm: bool = True) -> Files:
    """All files of one method. `adapter`: "" as peft 0.2 names LoRA, else the name later versions put in."""
    torch.manual_seed(11)
    root.mkdir(parents=True)
    torch.save(eva_weights(blocks, norm), root / "eva_vit_g.pth")
    (whisper_folder if preset == "emotion_llama_v2" else hubert_folder)(root / "audio")
    llama_folder(root / "llama")
    own = v2_modules() if preset == "emotion_llama_v2" else v1_modules()
    content = {"model": own | lora(adapter), "config": {"model": {"lora_r": RANK, "lora_alpha": 8}}, "epoch": 9, "optimizer": {"state": {}}}
    torch.save(content, root / "checkpoint_9.pth")
    return Files(root / "checkpoint_9.pth", root / "eva_vit_g.pth", root / "audio", root / "llama")


def drawn(*shape: int) -> Tensor:
    return 0.1 * torch.randn(shape)


def linear(name: str, inputs: int, outputs: int) -> dict[str, Tensor]:
    return {f"{name}.weight": drawn(outputs, inputs), f"{name}.bias": drawn(outputs)}


def eva_weights(blocks: int, norm: bool = True) -> dict[str, Tensor]:
    """As eva_vit_g.pth: half precision, and a head that nobody uses."""
    tower = EvaTower(EvaPreset(width=WIDTH, heads=1, intermediate=96, scene_blocks=blocks, frame_blocks=blocks))
    weights = {name: (1.0 if name.endswith("norm1.weight") else 0.0) + drawn(*value.shape) for name, value in tower.state_dict().items()}
    if not norm:
        weights = {name: value for name, value in weights.items() if not name.startswith("norm.")}
    return {name: value.half() for name, value in (weights | linear("head", WIDTH, 16)).items()}


def v2_modules() -> dict[str, Tensor]:
    fusion = ConvAttention(SOUND, WIDTH, WIDTH, FusionPreset())
    widths = {"llama_proj": 4 * WIDTH, "llama_proj_video": WIDTH, "llama_proj_audio": SOUND, "llama_proj_fusion": 256}
    weights = {f"conv_pro_module.{name}": value for name, value in fusion.state_dict().items()}
    return weights | {key: value for name, width in widths.items() for key, value in linear(name, width, HIDDEN).items()}


def v1_modules() -> dict[str, Tensor]:
    """With the attention head that v1 saves and never calls."""
    widths = {"llama_proj": 4 * WIDTH, "cls_tk_llama_proj": WIDTH, **{f"feats_llama_proj{i}": UTTERANCE for i in (1, 2, 3)}}
    weights = {key: value for name, width in widths.items() for key, value in linear(name, width, HIDDEN).items()}
    return weights | linear("attention.fc_att", 128, 7)


def lora(adapter: str) -> dict[str, Tensor]:
    weights = {}
    for layer in range(LAYERS):
        stem = f"llama_model.base_model.model.model.layers.{layer}.self_attn"
        for name in ("q_proj", "v_proj"):
            spelled = f".{adapter}" if adapter else ""
            weights[f"{stem}.{name}.lora_A{spelled}.weight"] = drawn(RANK, HIDDEN)
            weights[f"{stem}.{name}.lora_B{spelled}.weight"] = drawn(HIDDEN, RANK)
        weights[f"{stem}.rotary_emb.inv_freq"] = torch.ones(16)
    return weights


def whisper_folder(root: Path) -> None:
    """A whole WhisperForConditionalGeneration: its decoder is there and not wanted."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    small = {"encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_layers": 1, "decoder_attention_heads": 2}
    marks = {
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
        "suppress_tokens": [],
        "begin_suppress_tokens": [],
    }
    config: Any = WhisperConfig(num_mel_bins=128, d_model=SOUND, decoder_ffn_dim=48, vocab_size=20, **small, **marks)
    WhisperForConditionalGeneration(config).half().save_pretrained(root)


def hubert_folder(root: Path) -> None:
    """As chinese-hubert-large: pytorch_model.bin with torch's old spelling of weight normalisation, and the vector for masked places."""
    from transformers import HubertConfig, HubertModel

    kernels = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4, "conv_dim": (16,) * 7}
    large = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    sizes = {"hidden_size": UTTERANCE, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model: Any = HubertModel(HubertConfig(**sizes, **kernels, **large))
    root.mkdir()
    old = {"original0": "weight_g", "original1": "weight_v"}
    weights = {
        key.replace(f"parametrizations.weight.{key[-9:]}", old.get(key[-9:], "")): value for key, value in model.state_dict().items()
    }
    torch.save(weights, root / "pytorch_model.bin")
    model.config.save_pretrained(root)
    (root / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "sampling_rate": 16000}))


def llama_folder(root: Path) -> None:
    from training.language import make_llama

    tokenizer = llama_tokenizer()
    preset = LlamaPreset(hidden=HIDDEN, layers=LAYERS, heads=2, kv_heads=2, intermediate=96, vocab=VOCABULARY, context=2048)
    model = make_llama(preset)
    model.config.bos_token_id, model.config.eos_token_id = 1, 2
    model.half().save_pretrained(root)
    tokenizer.save(str(root / "tokenizer.json"))


def llama_tokenizer() -> Tokenizer:
    """As Llama 2's: words begin with ▁, bytes for what is unknown, <unk> <s> </s> as 0 1 2."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    specials = [AddedToken(mark, special=True, normalized=False) for mark in ("<unk>", "<s>", "</s>")]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator([SENTENCE, *TASKS_V1.values(), *TASKS_V2.values()], trainer)
    return tokenizer


def save_safetensors(weights: dict[str, Tensor], path: Path) -> None:
    save_file({name: value.contiguous() for name, value in weights.items()}, path, {"format": "pt"})
