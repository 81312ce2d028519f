"""Where training starts from, with random weights: the published layout at a size that two cores can train, or at full size.

What a real run starts from is a folder that export/import_checkpoint.py wrote (--lora kept --initialise-missing --without-graphs). Those
made here have the same form.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers
from torch import nn

from ros2_emollama.model.folder import Manifest, ModelFolder, open_folder, write_manifest
from ros2_emollama.model.network import EmotionNetwork
from ros2_emollama.model.presets import EMOTION_LLAMA, EMOTION_LLAMA_V2, Preset
from ros2_emollama.model.streams import EvaPreset, FusionPreset, HubertPreset, LlamaPreset, WhisperPreset
from ros2_emollama.model.weights import NETWORK
from ros2_emollama.reasoner.prompt import special_id

from ..instructions_tables import CHAT, EVALUATIONS, SAYS, TEMPLATES, THINK, prompts
from ..language import make_llama
from ..records import Sample
from .reading import read, sequences_of

TINY_LLAMA = LlamaPreset(hidden=64, layers=2, heads=2, kv_heads=2, intermediate=128, vocab=1200, context=2048, reads_transcripts=True)
TINY_EVA = EvaPreset(scene_pixels=112, frame_pixels=56, trained_grid=8, scene_blocks=1, frame_blocks=2, heads=2, intermediate=64, width=64)
TINY_V2 = dataclasses.replace(
    EMOTION_LLAMA_V2,
    name="emotion_llama_v2_tiny",
    vision=TINY_EVA,
    audio=WhisperPreset(columns=800, layers=1, heads=2, intermediate=64, width=64),
    fusion=FusionPreset(hidden=64, width=32, out=64, head_hidden=0),
    prefix=dataclasses.replace(EMOTION_LLAMA_V2.prefix, scene=TINY_EVA.scene_tokens),
    llama=TINY_LLAMA,
)
TINY_V1 = dataclasses.replace(
    EMOTION_LLAMA,
    name="emotion_llama_tiny",
    vision=dataclasses.replace(TINY_EVA, frame_pixels=0, frame_blocks=0),
    audio=HubertPreset(conv_channels=16, position_kernel=8, position_groups=4, layers=1, heads=2, intermediate=64, width=32),
    prefix=dataclasses.replace(EMOTION_LLAMA.prefix, scene=TINY_EVA.scene_tokens),
    llama=TINY_LLAMA,
)
TINY = {preset.name: preset for preset in (TINY_V2, TINY_V1)}
"""Emotion-LLaMAv2 keeps 64 fusion, 64 frame and 64 audio tokens; of the scene there are 16."""
PUBLISHED = {preset.name: preset for preset in (EMOTION_LLAMA_V2, EMOTION_LLAMA)}
WEIGHTS_STD = {"lm_head": 0.3, "embed_tokens": 1.0}
"""At the usual 0.02 a frozen random output layer is so flat that nothing trained beneath it could ever be sure of a word."""


def find_start_preset(name: str) -> Preset:
    """A preset whose language model is of the published kind. KeyError naming those there are."""
    known = PUBLISHED | TINY
    if name not in known:
        raise KeyError(f"no preset {name!r} of the published kind; there are {', '.join(known)}")
    return known[name]


def write_start(preset: Preset, output: Path, seed: int = 0, samples: Sequence[Sample] = (), steps: int = 0) -> ModelFolder:
    """A model folder with random weights and a tokenizer made from the published prompts. ValueError where `output` holds one.

    samples, steps  the language model reads these first, for so many steps (reading.py), and the tokenizer is made of their words too
    Tensors of the language model are drawn on the CPU in float32: a 7B takes 27 GB of memory.
    """
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"{output} is there already; give another place or remove it first")
    unfinished = output.with_name(output.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    weights = unfinished / "llama" / "weights"
    weights.mkdir(parents=True)
    torch.manual_seed(seed)
    network = EmotionNetwork(preset)
    _vary(network)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, unfinished / NETWORK)
    llama = make_llama(preset.llama)
    for name, deviation in WEIGHTS_STD.items():
        for key, value in llama.named_parameters():
            if name in key:
                nn.init.normal_(value, std=deviation if preset.llama.hidden < 1024 else 0.02)
    tokenizer = make_tokenizer([*_prompt_texts(), *(sample.answer for sample in samples)], preset.llama.vocab)
    notes = [f"random weights, seed {seed}: a start for training"]
    if steps:
        ends = tuple(special_id(tokenizer, mark) for mark in (preset.llama.bos_token, preset.llama.eos_token))
        told = sequences_of(samples, preset, lambda text: tokenizer.encode(text, add_special_tokens=False).ids, *ends)
        notes.append(f"the language model read {len(told)} texts for {steps} steps; loss {read(llama, told, steps, seed):.3f}")
    llama.half().save_pretrained(weights)
    tokenizer.save(str(weights / "tokenizer.json"))
    language = {"weights": "llama/weights", "tokenizer": "llama/weights/tokenizer.json"}
    info = {"licence": "random weights, no licence needed", "notes": notes}
    write_manifest(unfinished, Manifest(preset.name, preset, {}, language, {}, info))
    if output.exists():
        output.rmdir()
    unfinished.rename(output)
    return open_folder(output)


def _vary(network: EmotionNetwork) -> None:
    """Tokens that are nought in a fresh tower are drawn, or no place would differ from another."""
    for name, value in network.named_parameters():
        if name.endswith(("pos_embed", "cls_token")):
            nn.init.normal_(value, std=0.02)


def make_tokenizer(texts: Iterable[str], vocab: int) -> Tokenizer:
    """As Llama 2's: words begin with ▁, bytes for what is unknown, <unk> <s> </s> as 0 1 2."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    specials = [AddedToken(mark, special=True, normalized=False) for mark in ("<unk>", "<s>", "</s>")]
    bytes_ = [AddedToken(f"<0x{byte:02X}>", special=False, normalized=False) for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=[*specials, *bytes_], show_progress=False)
    # Words apart, as LLaMA's sentencepiece has them: a tokenizer of whole sentences would learn the prompts as single words.
    tokenizer.train_from_iterator((word for text in texts for word in text.split()), trainer)
    return tokenizer


def _prompt_texts() -> Iterator[str]:
    yield from (CHAT, SAYS, THINK, *TEMPLATES.values())
    for pool in prompts().values():
        yield from pool
    yield from (" ".join((plan.tag, plan.says, *plan.labels.values())) for plan in EVALUATIONS.values())
