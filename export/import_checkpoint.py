"""Published weights → a model folder: Emotion-LLaMA (v1) or Emotion-LLaMAv2, from files that lie on this machine.

In:  the checkpoint (.pth; several: a later one's tensors win), eva_vit_g.pth, the folders of LLaMA and of Whisper (v2) or HuBERT (v1).
Out: a model folder: shards of weights, graphs, the language model in 4 bits, a manifest that says what it was made from, with hashes.
All names and shapes are checked before anything is written, tensors pass one by one, and the folder gets its name when it is whole.
What to fetch, how large it is and under which licence: emollama models.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm

if not __package__:  # started as a file: python export/import_checkpoint.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "export"

from ros2_emollama.model.folder import Manifest, file_facts, write_manifest
from ros2_emollama.model.presets import PRESETS, Preset
from ros2_emollama.model.streams import EvaPreset
from ros2_emollama.reasoner.published import LABEL_SETS

from .checkpoints import CheckpointError, Source, open_checkpoint, open_folder_of
from .import_plan import (
    Findings,
    Plan,
    eva_preset,
    hubert_preset,
    llama_preset,
    lora_alpha,
    merged,
    plan_language,
    plan_network,
    whisper_preset,
)
from .shards import ShardWriter

IMPORTED = ("emotion_llama_v2", "emotion_llama")
GIGABYTE = 1 << 30
LICENCE = "Llama 2 Community License; weights of the other parts under their own (emollama models); no statement by the authors of ours"


def make_plan(arguments: argparse.Namespace) -> tuple[Plan, list[Source]]:
    """Open everything and see that it fits. CheckpointError listing all that does not."""
    notes: list[str] = []
    base = PRESETS[arguments.preset]
    checkpoint = merged([open_checkpoint(path) for path in arguments.checkpoint])
    eva = open_checkpoint(arguments.eva)
    audio_config, audio = open_folder_of(arguments.audio)
    config, llama = open_folder_of(arguments.llama)
    preset = _preset(base, arguments, config, audio_config, eva, notes)
    findings = Findings()
    if arguments.initialise_missing:
        checkpoint = with_new_modules(preset, checkpoint, notes)
    network = plan_network(preset, checkpoint, eva, audio, findings, notes)
    lora = plan_language(preset.llama, config, llama, checkpoint, findings)
    findings.raise_any(_cure(preset, checkpoint))
    if not lora:
        notes.append("the checkpoint has no LoRA: the language model is the one given, unchanged")
    plan = Plan(preset, network, llama, config, lora, checkpoint, lora_alpha(checkpoint, arguments.lora_alpha), notes)
    return plan, [checkpoint, eva, audio, llama]


def _preset(
    base: Preset, arguments: argparse.Namespace, config: dict[str, Any], audio_config: dict[str, Any], eva: Source, notes: list[str]
) -> Preset:
    assert isinstance(base.vision, EvaPreset)
    path = arguments.llama / "tokenizer.json"
    if not path.is_file():
        write = f"T.from_pretrained('{arguments.llama}').save_pretrained('{arguments.llama}')"
        cure = f'with transformers and sentencepiece: python -c "from transformers import LlamaTokenizerFast as T; {write}"'
        raise CheckpointError(f"{arguments.llama} has no tokenizer.json; write it from tokenizer.model {cure}")
    try:
        tokenizer = Tokenizer.from_file(str(path))
        llama = llama_preset(config, arguments.llama, tokenizer, arguments.context)
        audio = whisper_preset(audio_config, arguments.audio) if base.audio.kind == "whisper" else _hubert(audio_config, arguments.audio)
    except KeyError as error:
        raise CheckpointError(f"a config.json lacks {error}; fetch the folder again") from error
    except CheckpointError:
        raise
    except Exception as error:  # tokenizers raises no class of its own
        raise CheckpointError(f"{path} cannot be read: {error}; fetch it again") from error
    vision = eva_preset(base.vision, eva, arguments.eva_blocks, notes)
    published = arguments.as_published
    return dataclasses.replace(
        base,
        vision=vision,
        audio=audio,
        llama=llama,
        labels=LABEL_SETS[arguments.labels] if arguments.labels else base.labels,
        prefix=dataclasses.replace(base.prefix, absent="kept" if published else "left_out"),
        prompt=f"{base.prompt}_published" if published else base.prompt,
    )


def _hubert(config: dict[str, Any], root: Path) -> Any:
    path = root / "preprocessor_config.json"
    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return hubert_preset(config, root, normalise=bool(told.get("do_normalize", True)))


def _cure(preset: Preset, checkpoint: Source) -> str:
    """The likeliest mistake, by what was found."""
    shape = checkpoint.shapes.get("llama_proj.weight")
    if shape and shape[0] != preset.llama.hidden:
        return f"The checkpoint was trained with a language model {shape[0]} wide, the one given is {preset.llama.hidden}: give --llama that one"
    other = "emotion_llama" if preset.name == "emotion_llama_v2" else "emotion_llama_v2"
    marks = {"emotion_llama": "feats_llama_proj1.weight", "emotion_llama_v2": "llama_proj_fusion.weight"}
    if marks[other] in checkpoint.shapes:
        return f"It looks like a checkpoint of the other method: try --preset {other}"
    if marks[preset.name] not in checkpoint.shapes:
        return "Without its own modules it is a start for training (minigptv2_checkpoint.pth): give --initialise-missing for that"
    return "See that all files are whole and of one method, then import again"


def with_new_modules(preset: Preset, checkpoint: Source, notes: list[str]) -> Source:
    """The checkpoint with what it lacks of projections and fusion drawn anew: where training starts from, not a model to ask."""
    from ros2_emollama.model.network import EmotionNetwork

    from .published_names import MODULES

    torch.manual_seed(42)
    with torch.device("meta"):
        network = EmotionNetwork(preset)
    spellings = {ours: theirs for theirs, ours in MODULES[preset.name].items()}
    added: dict[str, Tensor] = {}
    for ours, theirs in spellings.items():
        module = network.get_submodule(ours)
        if not any(key.startswith(f"{theirs}.") for key in checkpoint.shapes):
            for part in module.to_empty(device="cpu").modules():
                if hasattr(part, "reset_parameters"):
                    part.reset_parameters()
            added |= {f"{theirs}.{name}": value for name, value in module.state_dict().items()}
            notes.append(f"{theirs} was drawn anew: this is a start for training")
    extended = dataclasses.replace(checkpoint, shapes={**checkpoint.shapes, **{key: tuple(value.shape) for key, value in added.items()}})
    extended._tensors = {**checkpoint._tensors, **added}
    return extended


def merged_weight(plan: Plan, name: str) -> Tensor:
    """One LLaMA weight with its adapter added, in the type it came in."""
    weight = plan.language.tensor(name)
    if name not in plan.lora:
        return weight
    pair = plan.lora[name]
    down, up = (plan.checkpoint.tensor(key).float() for key in (pair.down, pair.up))
    return (weight.float() + (plan.alpha / down.shape[0]) * (up @ down)).to(weight.dtype)


def write_weights(plan: Plan, output: Path, shard_bytes: int, keep_lora: bool) -> dict[str, str]:
    """Network and language model, tensor by tensor; returns the manifest's language table."""
    writer = ShardWriter(output, "network", shard_bytes)
    for name, get in tqdm(plan.network.items(), desc="network", unit="tensor"):
        writer.add(name, get())
    writer.close()
    weights = output / "llama" / "weights"
    writer = ShardWriter(weights, "model", shard_bytes)
    tied = bool(plan.language_config.get("tie_word_embeddings"))
    names = [name for name in plan.language.shapes if not name.endswith("inv_freq") and not (tied and name == "lm_head.weight")]
    get: Callable[[str], Tensor] = plan.language.tensor if keep_lora else lambda name: merged_weight(plan, name)
    for name in tqdm(names, desc="language model", unit="tensor"):
        writer.add(name, get(name))
    writer.close()
    if keep_lora and plan.lora:
        save_adapter(plan, output / "llama" / "adapter")
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(plan.language.path / name, weights / name)
    for name in ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json"):
        if (plan.language.path / name).is_file():
            shutil.copyfile(plan.language.path / name, weights / name)
    adapter = {"adapter": "llama/adapter"} if keep_lora and plan.lora else {}
    return {"weights": "llama/weights", "tokenizer": "llama/weights/tokenizer.json", **adapter}


def save_adapter(plan: Plan, folder: Path) -> None:
    """The adapter in peft's own form and names of today."""
    folder.mkdir(parents=True)
    tensors = {}
    for name, pair in plan.lora.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        tensors[f"{module}.lora_A.weight"] = plan.checkpoint.tensor(pair.down).contiguous().clone()
        tensors[f"{module}.lora_B.weight"] = plan.checkpoint.tensor(pair.up).contiguous().clone()
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    targets = sorted({name.split(".")[-2] for name in plan.lora})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": plan.lora_rank, "lora_alpha": plan.alpha, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps({**config, "target_modules": targets}, indent=1) + "\n", encoding="utf-8")


def source_facts(sources: list[Source]) -> list[dict[str, Any]]:
    """Name, size and hash of every file that was read, as it was."""
    files = [file for source in sources for file in source.files]
    return [{"file": file.name, **file_facts(file)} for file in tqdm(files, desc="hashes of the sources", unit="file")]


def import_checkpoint(arguments: argparse.Namespace) -> list[str]:
    """Write the folder; returns what there is to say of it. CheckpointError before anything is written where something does not fit."""
    output: Path = arguments.output
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise CheckpointError(f"{output} is there already; give another place or remove it first")
    plan, sources = make_plan(arguments)
    unfinished = output.with_name(output.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    language = write_weights(plan, unfinished, int(arguments.shard_gb * GIGABYTE), arguments.lora == "kept")
    info = {
        "licence": arguments.licence or LICENCE,
        "lora": {"rank": plan.lora_rank, "alpha": plan.alpha, "matrices": len(plan.lora), "form": arguments.lora} if plan.lora else {},
        "sources": source_facts(sources),
        "notes": plan.notes,
    }
    write_manifest(unfinished, Manifest(plan.preset.name, plan.preset, {}, language, {}, info))
    if output.exists():
        output.rmdir()
    unfinished.rename(output)
    return plan.notes


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export.import_checkpoint", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", required=True, choices=IMPORTED, help="which method the checkpoint is of")
    parser.add_argument(
        "--checkpoint", required=True, type=Path, action="append", metavar="FILE", help="the method's own .pth; may be repeated"
    )
    parser.add_argument("--eva", required=True, type=Path, metavar="FILE", help="eva_vit_g.pth")
    parser.add_argument("--audio", required=True, type=Path, metavar="DIR", help="Whisper-large-v3 (v2) or chinese-hubert-large (v1)")
    parser.add_argument("--llama", required=True, type=Path, metavar="DIR", help="Llama-2-7b-chat-hf, or the LLaMA it was trained with")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="model folder to write")
    parser.add_argument("--labels", choices=sorted(LABEL_SETS), help="labels of one training set, default those of the authors' demo")
    parser.add_argument("--lora", choices=("merged", "kept"), default="merged", help="added to the weights, or beside them (%(default)s)")
    parser.add_argument("--lora-alpha", type=float, metavar="A", help="default: what the checkpoint says, else 16")
    parser.add_argument(
        "--as-published", action="store_true", help="absent streams, <s> and <FeatureHere> as the published inference code treats them"
    )
    parser.add_argument("--context", type=int, default=1024, help="longest prompt and answer, in tokens (%(default)s)")
    parser.add_argument("--eva-blocks", type=int, default=39, metavar="N", help="blocks of EVA the scene goes through (%(default)s)")
    parser.add_argument("--initialise-missing", action="store_true", help="draw missing projections anew: a start for training")
    parser.add_argument(
        "--shard-gb", type=float, default=1.0, metavar="GB", help="largest file of weights, and about the memory needed (%(default)s)"
    )
    parser.add_argument("--licence", default="", help="for the manifest, where you know better")
    parser.add_argument(
        "--without-graphs",
        action="store_true",
        help="weights only, for the torch runtime; graphs later: python -m export.to_onnx --model DIR",
    )
    parser.add_argument(
        "--block-size", type=int, default=32, choices=(16, 32, 64, 128, 256), help="weights that share a 4-bit scale (%(default)s)"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    try:
        notes = import_checkpoint(arguments)
        for note in notes:
            print(f"note: {note}")
        if not arguments.without_graphs:
            from .to_onnx import export_folder

            for name, difference in export_folder(arguments.output, block_size=arguments.block_size).items():
                print(f"{name}: largest difference from torch {difference:.2g}")
    except (ValueError, RuntimeError, OSError) as error:
        print(f"import: {error}", file=sys.stderr)
        return 2
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
