"""What is trained: projections, fusion and label head, and LoRA in a frozen language model, in one module.

    streams ─► fusion, projections ─► prefix ┐
    ids ─────► embeddings ───────────────────┴► language model with LoRA ─► loss on the answer
                       └► label head ─► loss on the label
The prefix is computed by the module that the robot's graph is exported from. Encoders are not here: they are frozen, their tokens given.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from ros2_emollama.model.folder import ModelFolder
from ros2_emollama.model.label_head import LabelHead
from ros2_emollama.model.network import BEHIND_ENCODERS, EmotionNetwork, PublishedFusionGraph
from ros2_emollama.model.presets import Preset
from ros2_emollama.model.streams import UNFUSED, FusionPreset
from ros2_emollama.model.weights import network_weights

from .lessons import Lesson
from .recipes import Lora

Language = Literal["lora", "qlora", "whole", "frozen"]
PARTS = tuple(f"{name}." for name in BEHIND_ENCODERS)
"""Of the network, what is trained; all else are encoders."""
ADAPTER, PEFT_PREFIX = "default", "base_model.model."
MISSING_BITSANDBYTES = "QLoRA needs bitsandbytes and an NVIDIA GPU: pip install bitsandbytes; or train LoRA: --language lora"


class Losses(NamedTuple):
    """Of each sample (B,).

    answer    mean cross-entropy over the answer's tokens
    head      cross-entropy of the label; 0 where none is known, or there is no head
    right     share of the answer's tokens that were the likeliest
    labelled  1 where a label is known
    hit       1 where the head says it
    affect    mean squared error of what is known of valence and arousal; 0 where nothing is, or there is no head for it
    """

    answer: Tensor
    head: Tensor
    right: Tensor
    labelled: Tensor
    hit: Tensor
    affect: Tensor


class Student(nn.Module):
    """fusion: over a network without encoders. llama: a LlamaForCausalLM."""

    def __init__(self, preset: Preset, fusion: PublishedFusionGraph, llama: nn.Module) -> None:
        super().__init__()
        self.preset, self.fusion, self.llama = preset, fusion, llama

    def forward(self, lesson: Lesson) -> Losses:
        """Losses of a batch."""
        read = self.fusion.read(*(lesson.streams[name] for name in self.fusion.given))
        prefix = read.prefix
        llama: Any = self.llama
        embedded = llama.get_input_embeddings()(lesson.ids)
        rows = torch.gather(prefix, 1, lesson.rows.clamp(min=0).unsqueeze(-1).expand(-1, -1, prefix.shape[-1]))
        embedded = torch.where((lesson.rows >= 0).unsqueeze(-1), rows.to(embedded.dtype), embedded)
        hidden = llama.model(inputs_embeds=embedded, attention_mask=lesson.mask, use_cache=False).last_hidden_state
        # Only places before a token of an answer go through the output layer: the others' logits would fill the memory.
        asked = lesson.labels[:, 1:] >= 0
        told = llama.lm_head(hidden[:, :-1][asked]).float()
        wanted = lesson.labels[:, 1:][asked]
        answer = _means(F.cross_entropy(told, wanted, reduction="none"), asked)
        right = _means((told.detach().argmax(-1) == wanted).float(), asked)
        labelled = (lesson.emotion >= 0).float()
        head = hit = affect = torch.zeros_like(answer)
        if read.logits is not None:
            head = F.cross_entropy(read.logits.float(), lesson.emotion.clamp(min=0), reduction="none") * labelled
            hit = (read.logits.detach().argmax(-1) == lesson.emotion).float() * labelled
        if read.affect is not None:
            known = lesson.affect.isfinite()
            off = (read.affect.float() - lesson.affect.nan_to_num()).square() * known
            affect = off.sum(dim=1) / known.sum(dim=1).clamp(min=1)
        return Losses(answer, head, right, labelled, hit, affect)


def _means(values: Tensor, asked: Tensor) -> Tensor:
    """Values of the places that are True in (B, T) → each row's mean (B,)."""
    spread = torch.zeros(asked.shape, device=values.device, dtype=values.dtype).masked_scatter(asked, values)
    return spread.sum(dim=1) / asked.sum(dim=1).clamp(min=1)


def changed_preset(preset: Preset, head: int | None = None, fusion: str = "", affect: bool = False) -> Preset:
    """The start's preset with a label head of so many hidden units (0: none), valence and arousal beside it, or another fusion. A preset
    without fusion (v1) gets heads that read its streams; another fusion is a ValueError there."""
    changes: dict[str, Any] = {}
    if head is not None:
        changes["head_hidden"] = head
    if fusion:
        changes["method"] = fusion
    if affect:
        changes["affect"] = True
    if not changes:
        return preset
    if preset.fusion is None or preset.fusion.method == UNFUSED:
        if fusion:
            raise ValueError(f"{preset.name} fuses nothing; leave out --fusion, or take emotion_llama_v2")
        if not head and preset.fusion is None:
            return preset
        changes["method"] = UNFUSED
        return dataclasses.replace(preset, fusion=dataclasses.replace(preset.fusion or FusionPreset(), **changes))
    return dataclasses.replace(preset, fusion=dataclasses.replace(preset.fusion, **changes))


def make_fusion(folder: ModelFolder, preset: Preset) -> PublishedFusionGraph:
    """Projections, fusion and head with the folder's weights; what the folder has not, or of another shape, is drawn (seed 0)."""
    parts = _drawn(preset)
    own = parts.state_dict()
    known = network_weights(folder.root, PARTS)
    parts.load_state_dict({name: value for name, value in known.items() if name in own and own[name].shape == value.shape}, strict=False)
    return PublishedFusionGraph(parts)


def _drawn(preset: Preset) -> EmotionNetwork:
    """All of a network but its encoders, drawn anew."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = EmotionNetwork(preset)
    del network.vision, network.audio
    parts = network.to_empty(device="cpu")
    for module in parts.modules():
        if isinstance(module, nn.MultiheadAttention):
            module._reset_parameters()
        elif hasattr(module, "reset_parameters"):
            module.reset_parameters()
    for module in parts.modules():
        if isinstance(module, LabelHead):
            nn.init.zeros_(module.when)
            module.temperatures.fill_(1.0)
    if preset.fusion is not None and preset.fusion.method == "q_former":
        nn.init.normal_(parts.conv_pro_module.queries, std=0.02)
        nn.init.normal_(parts.conv_pro_module.origin, std=0.02)
    return parts


def make_student(
    folder: ModelFolder, preset: Preset, lora: Lora, language: Language = "lora", dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Student:
    """The student of a start. What is trained is float32, what is frozen of `dtype`.

    language  "lora" or "qlora" (frozen weights in 4 bits), "whole" (every weight is trained), "frozen" (projections and fusion alone)
    ImportError with the cure where QLoRA cannot run.
    """
    fusion = make_fusion(folder, preset)
    llama = _load_llama(folder, language, torch.float32 if language == "whole" else dtype, device)
    llama.requires_grad_(language == "whole")
    if language in ("lora", "qlora"):
        add_lora(llama, started_lora(folder, lora))
        load_adapter(llama, folder)
    elif "adapter" in folder.manifest.language:
        from ros2_emollama.model.weights import apply_adapter

        apply_adapter(llama, folder.language("adapter"))
    return Student(preset, fusion, llama)


def random_student(preset: Preset, lora: Lora, dtype: torch.dtype, device: torch.device) -> Student:
    """A student with random weights, drawn where it will run: no file, and no second copy of a 7B."""
    from transformers import LlamaForCausalLM

    from ..language import llama_config

    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            llama: nn.Module = LlamaForCausalLM(llama_config(preset.llama))
    finally:
        torch.set_default_dtype(before)
    llama.requires_grad_(False)
    add_lora(llama, lora)
    return Student(preset, PublishedFusionGraph(_drawn(preset)), llama).to(device)


def _load_llama(folder: ModelFolder, language: Language, dtype: torch.dtype, device: str) -> nn.Module:
    from transformers import AutoModelForCausalLM

    if "weights" not in folder.manifest.language:
        raise ValueError(f"{folder.root} has no language model that can be trained; import it again with its weights")
    options: dict[str, Any] = {"dtype": dtype}
    if language == "qlora":
        options |= {"quantization_config": _four_bits(), "device_map": {"": device}}
    llama: nn.Module = AutoModelForCausalLM.from_pretrained(folder.language("weights"), **options)
    if language == "qlora":
        from peft import prepare_model_for_kbit_training

        llama = prepare_model_for_kbit_training(llama, use_gradient_checkpointing=False)
    return llama


def _four_bits() -> Any:
    """ImportError with the cure where bitsandbytes is not there or has no GPU."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise ImportError(MISSING_BITSANDBYTES) from None
    if not torch.cuda.is_available():
        raise ImportError(MISSING_BITSANDBYTES)
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
    )


def recompute_activations(llama: Any) -> None:
    """Activations are computed again in the backward pass instead of kept."""
    how = {"use_reentrant": False}
    if hasattr(llama, "activation_checkpointing_enable"):  # its name in later versions of transformers 5
        llama.activation_checkpointing_enable(activation_checkpointing_kwargs=how)
    else:
        llama.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)


def started_lora(folder: ModelFolder, lora: Lora) -> Lora:
    """An adapter that the start has goes on, with its own rank and alpha."""
    if "adapter" not in folder.manifest.language:
        return lora
    config = json.loads((folder.language("adapter") / "adapter_config.json").read_text(encoding="utf-8"))
    return dataclasses.replace(
        lora, rank=int(config["r"]), alpha=float(config["lora_alpha"]), targets=tuple(sorted(config["target_modules"]))
    )


def add_lora(llama: nn.Module, lora: Lora) -> None:
    """Put adapters into the language model; they are float32 and trained, all else is frozen."""
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(0)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        bias="none",  # type: ignore[arg-type]
    )
    inject_adapter_in_model(config, llama, ADAPTER)
    for name, value in llama.named_parameters():
        if "lora_" in name:
            value.data = value.data.float()


def load_adapter(llama: nn.Module, folder: ModelFolder) -> None:
    """The start's adapter, where it has one. ValueError where it is of another language model."""
    if "adapter" not in folder.manifest.language:
        return
    path = folder.language("adapter") / "adapter_model.safetensors"
    tensors = {_inside(name): value.float() for name, value in load_file(path).items()}
    own = {name: value for name, value in llama.named_parameters() if "lora_" in name}
    if tensors.keys() != own.keys():
        raise ValueError(f"{path} adapts other layers than this language model has; import the model again")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[name])


def _inside(name: str) -> str:
    """A tensor of an adapter's file → its parameter here."""
    side = ".lora_A." if ".lora_A." in name else ".lora_B."
    return name.removeprefix(PEFT_PREFIX).replace(f"{side}weight", f"{side}{ADAPTER}.weight")


def adapter_of(trained: dict[str, Tensor]) -> dict[str, Tensor]:
    """LoRA among a student's tensors, named as peft's files name it."""
    return {
        PEFT_PREFIX + name.removeprefix("llama.").replace(f".{ADAPTER}.weight", ".weight"): value
        for name, value in trained.items()
        if ".lora_A." in name or ".lora_B." in name
    }


def save_adapter(trained: dict[str, Tensor], lora: Lora, folder: Path) -> bool:
    """Write them in peft's own form; False where there are none."""
    from safetensors.torch import save_file

    tensors = adapter_of(trained)
    if not tensors:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": lora.rank, "lora_alpha": lora.alpha, "bias": "none"}
    told = json.dumps({**config, "target_modules": sorted(lora.targets)}, indent=1)
    (folder / "adapter_config.json").write_text(told + "\n", encoding="utf-8")
    return True
