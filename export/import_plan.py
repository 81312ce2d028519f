"""What an import will write, worked out before anything is written: the preset, where each tensor comes from, and all that does not fit.

In:  opened sources (checkpoints.py). Out: a `Plan`, or one error that lists every missing, surplus and misshapen key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ros2_emollama.model.network import EmotionNetwork
from ros2_emollama.model.presets import Preset
from ros2_emollama.model.streams import EvaPreset, HubertPreset, LlamaPreset, WhisperPreset

from .checkpoints import CheckpointError, Source, listed
from .published_names import (
    POSITION_CONV,
    UNUSED,
    LoraPair,
    audio_names,
    eva_names,
    is_lora,
    network_names,
    position_pair,
    split_lora,
)

HEAD_WIDTH = 88  # of EVA ViT-g: the published code takes width // 88 heads
EMBEDDINGS = "model.embed_tokens.weight"
PADDED = 1024  # embeddings a table may have beyond its tokenizer's words: some are padded to a round number
LORA_ALPHA = 16.0  # of the published training configurations


@dataclass
class Plan:
    """network: our name → how to get the tensor; language: Hugging Face name → likewise; lora: LLaMA weight → its pair in `checkpoint`."""

    preset: Preset
    network: dict[str, Callable[[], Tensor]]
    language: Source
    language_config: dict[str, Any]
    lora: dict[str, LoraPair]
    checkpoint: Source
    alpha: float
    notes: list[str] = field(default_factory=list)

    @property
    def lora_rank(self) -> int:
        return min((self.checkpoint.shapes[pair.down][0] for pair in self.lora.values()), default=0)


@dataclass
class Findings:
    """What does not fit, from all sources."""

    missing: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)

    def raise_any(self, cure: str) -> None:
        told = [f"{what}: {listed(keys)}" for what, keys in vars(self).items() if keys]
        if told:
            raise CheckpointError(f"the files do not make this model. {'; '.join(told)}. {cure}")


def merged(sources: list[Source]) -> Source:
    """Checkpoints one over the other: a later one's tensors win."""
    first, *others = sources
    both = dataclasses.replace(first, files=[file for source in sources for file in source.files], shapes=dict(first.shapes))
    tensors = dict(first._tensors)
    for source in others:
        both.shapes |= source.shapes
        tensors |= source._tensors
    both._tensors, both.extra = tensors, {**first.extra, **{k: v for source in others for k, v in source.extra.items()}}
    return both


def eva_preset(base: EvaPreset, source: Source, blocks: int, notes: list[str]) -> EvaPreset:
    """EVA's numbers from its tensors; `blocks` the scene goes through. CheckpointError unless it is such a tower."""
    shapes = {name.removeprefix("vision.eva."): source.shapes[key] for name, key in eva_names(source.shapes).items()}
    needed = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight")
    if lacking := [name for name in needed if name not in shapes]:
        raise CheckpointError(f"{source.path} is no EVA ViT-g: {listed(lacking)} missing; give eva_vit_g.pth of LAVIS")
    width, depth = shapes["cls_token"][-1], 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("blocks."))
    grid = round((shapes["pos_embed"][1] - 1) ** 0.5)
    if width % HEAD_WIDTH or shapes["pos_embed"] != (1, grid * grid + 1, width):
        raise CheckpointError(
            f"{source.path}: width {width} or positions {shapes['pos_embed']} are not EVA ViT-g's; give eva_vit_g.pth of LAVIS"
        )
    if depth < blocks:
        cure = f"for a shorter tower say so: --eva-blocks {max(1, depth - 1)}"
        raise CheckpointError(f"{source.path} has {depth} blocks and the scene goes through {blocks}; fetch the whole file, or {cure}")
    frames = 0
    if base.frame_blocks:
        frames = min(depth, blocks + 1)
        if frames == blocks:
            notes.append(f"{source.path.name} has no block {blocks + 1}: frames leave after {blocks}, as the scene does")
        if "norm.weight" not in shapes:
            notes.append(
                f"{source.path.name} has no last norm: that of the frames has weight 1 and bias 0, as the published code leaves it"
            )
    patch = shapes["patch_embed.proj.weight"][-1]
    return dataclasses.replace(
        base,
        patch_pixels=patch,
        trained_grid=grid,
        scene_blocks=blocks,
        frame_blocks=frames,
        heads=width // HEAD_WIDTH,
        intermediate=shapes["blocks.0.mlp.fc1.weight"][0],
        width=width,
    )


def whisper_preset(config: Mapping[str, Any], root: Path) -> WhisperPreset:
    if config.get("model_type") != "whisper":
        raise CheckpointError(
            f"{root} is a {config.get('model_type')!r}; v2 hears with Whisper: give the folder of openai/whisper-large-v3"
        )
    return WhisperPreset(
        mels=config["num_mel_bins"],
        columns=2 * config["max_source_positions"],
        layers=config["encoder_layers"],
        heads=config["encoder_attention_heads"],
        intermediate=config["encoder_ffn_dim"],
        width=config["d_model"],
    )


def hubert_preset(config: Mapping[str, Any], root: Path, normalise: bool) -> HubertPreset:
    if config.get("model_type") != "hubert":
        raise CheckpointError(
            f"{root} is a {config.get('model_type')!r}; v1 hears with HuBERT: give the folder of TencentGameMate/chinese-hubert-large"
        )
    if config.get("feat_extract_norm") != "layer" or not config.get("do_stable_layer_norm") or not config.get("conv_bias"):
        raise CheckpointError(f"{root} is a HuBERT of the base kind (group norm); v1 hears with the large kind: chinese-hubert-large")
    return HubertPreset(
        conv_channels=config["conv_dim"][0],
        conv_kernels=tuple(config["conv_kernel"]),
        conv_strides=tuple(config["conv_stride"]),
        position_kernel=config["num_conv_pos_embeddings"],
        position_groups=config["num_conv_pos_embedding_groups"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        intermediate=config["intermediate_size"],
        normalise=normalise,
        width=config["hidden_size"],
    )


def llama_preset(config: Mapping[str, Any], root: Path, tokenizer: Tokenizer, context: int) -> LlamaPreset:
    """Any LLaMA: 7B, 13B, TinyLlama, Llama 3. CheckpointError for another architecture or a tokenizer of another model."""
    if config.get("model_type") != "llama":
        raise CheckpointError(
            f"{root} is a {config.get('model_type')!r}; give a model of the LLaMA architecture, e.g. meta-llama/Llama-2-7b-chat-hf"
        )
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    if config.get("head_dim") not in (None, hidden // heads):
        raise CheckpointError(
            f"{root}: heads of {config['head_dim']} in a width of {hidden} over {heads} heads cannot be run; take another LLaMA"
        )
    rope = config.get("rope_parameters") or {}
    return LlamaPreset(
        hidden=hidden,
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        intermediate=config["intermediate_size"],
        vocab=config["vocab_size"],
        context=min(context, config.get("max_position_embeddings", context)),
        rope_theta=float(config.get("rope_theta") or rope.get("rope_theta", 10000.0)),
        rms_norm_eps=config.get("rms_norm_eps", 1e-5),
        reads_transcripts=True,
        bos_token=_token(config, root, tokenizer, "bos"),
        eos_token=_token(config, root, tokenizer, "eos"),
    )


def _token(config: Mapping[str, Any], root: Path, tokenizer: Tokenizer, which: str) -> str:
    number = config.get(f"{which}_token_id")
    number = number[0] if isinstance(number, list) else number
    if tokenizer.get_vocab_size() > config["vocab_size"] or tokenizer.get_vocab_size() < config["vocab_size"] - PADDED:
        raise CheckpointError(
            f"{root}: tokenizer.json has {tokenizer.get_vocab_size()} words, the model {config['vocab_size']} embeddings; "
            "they are of two models: fetch both from one place"
        )
    told = tokenizer.id_to_token(number) if isinstance(number, int) else None
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    if told is None or told not in special:
        raise CheckpointError(
            f"{root}: {which}_token_id {number!r} is {told!r} in tokenizer.json, which is no mark of it; fetch config and tokenizer from one place"
        )
    return told


def plan_network(
    preset: Preset, checkpoint: Source, eva: Source, audio: Source, findings: Findings, notes: list[str]
) -> dict[str, Callable[[], Tensor]]:
    """Our name → how to get it, for everything but the language model."""
    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in EmotionNetwork(preset).state_dict().items()}
    kind = preset.audio.kind
    tables = (
        ("checkpoint", checkpoint, network_names(preset.name, checkpoint.shapes)),
        ("eva", eva, eva_names(eva.shapes)),
        (kind, audio, audio_names(kind, audio.shapes)),
    )
    plan: dict[str, Callable[[], Tensor]] = {}
    for origin, source, names in tables:
        if origin == "hubert" and (pair := position_pair(names)):
            length, direction = (names.pop(name) for name in pair)
            names[POSITION_CONV] = direction
            plan[POSITION_CONV] = lambda source=source, length=length, direction=direction: normed(source, length, direction)
        for name, key in names.items():
            if name not in expected:
                continue
            if source.shapes[key] != expected[name]:
                findings.misshapen.append(f"{key} {source.shapes[key]}, wanted {expected[name]} ({source.path.name})")
            plan.setdefault(name, lambda source=source, key=key: source.tensor(key))
        used = {key for name, key in names.items() if name in expected} | ({length} if origin == "hubert" and pair else set())
        findings.surplus += [
            f"{key} ({source.path.name})" for key in source.shapes if key not in used and not _of_no_use(origin, key, preset)
        ]
    for name in ("vision.ln_vision", "vision.eva.norm"):
        if f"{name}.weight" in expected and f"{name}.weight" not in plan:
            plan[f"{name}.weight"] = lambda: torch.ones(preset.vision.width)
            plan[f"{name}.bias"] = lambda: torch.zeros(preset.vision.width)
    if "ln_vision.weight" not in eva.shapes:
        notes.append(
            "no ln_vision among the weights: it has weight 1 and bias 0, as MiniGPT-v2's code, on which the method stands, leaves it"
        )
    findings.missing += [name for name in expected if name not in plan]
    return plan


def _of_no_use(origin: str, key: str, preset: Preset) -> bool:
    if origin == "checkpoint" and (is_lora(key) or key.startswith("llama_model.")):
        return True  # looked at with the language model
    if origin == "eva":
        key = key.removeprefix("visual_encoder.").removeprefix("visual.")
        vision = preset.vision
        assert isinstance(vision, EvaPreset)
        if key.startswith("blocks.") and int(key.split(".")[1]) >= max(vision.scene_blocks, vision.frame_blocks):
            return True
    return UNUSED[origin].search(key) is not None


def normed(source: Source, length: str, direction: str) -> Tensor:
    """A weight-normalised convolution's weight: g · v / |v|, the norm taken for each place of the kernel."""
    g, v = source.tensor(length).float(), source.tensor(direction).float()
    return g * v / v.norm(dim=(0, 1), keepdim=True)


def plan_language(
    preset: LlamaPreset, config: Mapping[str, Any], source: Source, checkpoint: Source, findings: Findings
) -> dict[str, LoraPair]:
    """Checks the LLaMA's own weights, and the adapters against them; returns the adapters."""
    expected = llama_shapes(preset, bool(config.get("tie_word_embeddings")), bool(config.get("attention_bias")))
    for name, shape in expected.items():
        if name not in source.shapes:
            findings.missing.append(f"{name} ({source.path.name})")
        elif source.shapes[name] != shape:
            findings.misshapen.append(f"{name} {source.shapes[name]}, wanted {shape} ({source.path.name})")
    surplus = [key for key in source.shapes if key not in expected and not UNUSED["llama"].search(key) and key != "lm_head.weight"]
    findings.surplus += [f"{key} ({source.path.name})" for key in surplus]
    pairs, halves = split_lora(checkpoint.shapes)
    findings.missing += [f"the other half of {key}" for key in halves]
    for name, pair in pairs.items():
        down, up = checkpoint.shapes[pair.down], checkpoint.shapes[pair.up]
        if name not in expected:
            findings.surplus.append(f"{pair.down} (adapts {name}, which the language model has not)")
        elif (up[0], down[1]) != expected[name] or up[1] != down[0]:
            findings.misshapen.append(f"{pair.down} {down} and {pair.up} {up}, to be added to {name} {expected[name]}")
    return pairs


def llama_shapes(preset: LlamaPreset, tied: bool, biased: bool = False) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a LLaMA's weights, as Hugging Face has them."""
    head = preset.hidden // preset.heads
    widths = {"q": preset.heads * head, "k": preset.kv_heads * head, "v": preset.kv_heads * head}
    shapes: dict[str, tuple[int, ...]] = {EMBEDDINGS: (preset.vocab, preset.hidden), "model.norm.weight": (preset.hidden,)}
    if not tied:
        shapes["lm_head.weight"] = (preset.vocab, preset.hidden)
    for layer in range(preset.layers):
        stem = f"model.layers.{layer}"
        shapes |= {f"{stem}.self_attn.{name}_proj.weight": (width, preset.hidden) for name, width in widths.items()}
        shapes[f"{stem}.self_attn.o_proj.weight"] = (preset.hidden, preset.heads * head)
        if biased:
            shapes |= {f"{stem}.self_attn.{name}_proj.bias": (width,) for name, width in {**widths, "o": preset.hidden}.items()}
        shapes |= {f"{stem}.mlp.{name}_proj.weight": (preset.intermediate, preset.hidden) for name in ("gate", "up")}
        shapes[f"{stem}.mlp.down_proj.weight"] = (preset.hidden, preset.intermediate)
        shapes |= {f"{stem}.{name}_layernorm.weight": (preset.hidden,) for name in ("input", "post_attention")}
    return shapes


def lora_alpha(checkpoint: Source, given: float | None) -> float:
    """What was given, else what the checkpoint's own configuration says, else the published value."""
    if given is not None:
        return given
    config = checkpoint.extra.get("config")
    model = config.get("model") if isinstance(config, Mapping) else None
    told = model.get("lora_alpha") if isinstance(model, Mapping) else None
    return float(told) if isinstance(told, (int, float)) else LORA_ALPHA
