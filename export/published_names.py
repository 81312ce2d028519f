"""Names in published checkpoints → names in our network and in a Hugging Face LLaMA; which keys are known to be of no use.

Interface constants of github.com/ZebangCheng/Emotion-LLaMA (v1), github.com/ooochen-30/Emotion-LLaMA-v2 (v2), LAVIS (eva_vit_g.pth), peft and
transformers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

V1_MODULES = {
    "llama_proj": "projections.scene",
    "feats_llama_proj1": "projections.utterance_0",
    "feats_llama_proj2": "projections.utterance_1",
    "feats_llama_proj3": "projections.audio",
    "cls_tk_llama_proj": "projections.cls",
}
V2_MODULES = {
    "llama_proj": "projections.scene",
    "llama_proj_video": "projections.frames",
    "llama_proj_audio": "projections.audio",
    "llama_proj_fusion": "projections.fusion",
    "conv_pro_module": "conv_pro_module",
}
MODULES = {"emotion_llama": V1_MODULES, "emotion_llama_v2": V2_MODULES}
UNUSED = {
    "checkpoint": re.compile(r"(^attention\.)|rotary_emb\.inv_freq$|^(visual_encoder|ln_vision)\."),  # v1 saves a head that it never calls
    "eva": re.compile(r"^(head|fc_norm|norm|rel_pos_bias|mask_token)\b|relative_position_index$|\.k_bias$"),
    "whisper": re.compile(r"^(model\.)?decoder\.|^proj_out\."),
    "hubert": re.compile(r"^(masked_spec_embed|lm_head\.|quantizer\.|project_)|final_proj|label_embs"),
    "llama": re.compile(r"rotary_emb\.inv_freq$"),
}
_LORA = re.compile(r"^(?:llama_model\.)?(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])(?:\.(?P<adapter>[^.]+))?\.weight$")


@dataclass(frozen=True)
class LoraPair:
    """Keys of the two halves of one adapter; peft 0.2 has lora_A.weight, later ones lora_A.<adapter>.weight."""

    down: str
    up: str


def split_lora(keys: Iterable[str]) -> tuple[dict[str, LoraPair], list[str]]:
    """LoRA of a checkpoint: LLaMA weight (as Hugging Face names it) → its pair; and keys of halves whose other half is missing."""
    found: dict[str, dict[str, str]] = {}
    for key in keys:
        if match := _LORA.match(key):
            found.setdefault(f"{match['module']}.weight", {})[match["side"]] = key
    pairs = {name: LoraPair(sides["A"], sides["B"]) for name, sides in found.items() if len(sides) == 2}
    return pairs, [key for sides in found.values() if len(sides) == 1 for key in sides.values()]


def is_lora(key: str) -> bool:
    return _LORA.match(key) is not None


def network_names(preset: str, keys: Iterable[str]) -> dict[str, str]:
    """Our name → the checkpoint's, for what belongs to projections and fusion."""
    names = {}
    for key in keys:
        module, _, rest = key.partition(".")
        if module in MODULES[preset]:
            names[f"{MODULES[preset][module]}.{rest}"] = key
    return names


def eva_names(keys: Iterable[str]) -> dict[str, str]:
    """Our name → the file's, whether it is eva_vit_g.pth itself or a checkpoint that holds it beside other things."""
    found = list(keys)
    prefix = next((p for p in ("", "visual_encoder.", "visual.", "module.") if f"{p}cls_token" in found), "")
    names = {f"vision.eva.{key[len(prefix) :]}": key for key in found if key.startswith(prefix)}
    names |= {f"vision.{key}": key for key in found if key.startswith("ln_vision.")}
    return names


def audio_names(kind: str, keys: Iterable[str]) -> dict[str, str]:
    """Our name → the folder's, for an encoder that may stand inside a larger model."""
    prefixes = {"whisper": ("model.encoder.", "encoder."), "hubert": ("hubert.", "")}[kind]
    found = list(keys)
    prefix = next((p for p in prefixes if p and any(key.startswith(p) for key in found)), prefixes[-1])
    return {f"audio.encoder.{key[len(prefix) :]}": key for key in found if key.startswith(prefix)}


POSITION_CONV = "audio.encoder.encoder.pos_conv_embed.conv.weight"
_POSITION_PAIRS = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))


def position_pair(names: Iterable[str]) -> tuple[str, str] | None:
    """Names of length and direction of HuBERT's weight-normalised convolution, in torch's old or new spelling."""
    there, stem = set(names), POSITION_CONV.removesuffix("weight")
    pairs = ((stem + length, stem + direction) for length, direction in _POSITION_PAIRS)
    return next((pair for pair in pairs if there.issuperset(pair)), None)
