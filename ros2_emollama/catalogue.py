"""What can be imported: every published file a full-size model is made of, where it comes from, under which licence, and the commands.

Sizes follow from the numbers of parameters and their type and are said to be so; hashes are not here: import records those it saw.
Nothing is fetched but by `download`, which hands over to huggingface_hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .model.folder import ModelFolderError


@dataclass(frozen=True)
class Part:
    """One thing to fetch.

    gigabytes   computed from its parameters; 0 where they are not known
    repository  on Hugging Face; empty where it lies elsewhere
    patterns    files wanted of a repository
    page        where it is, for a person
    """

    name: str
    what: str
    gigabytes: float
    licence: str
    page: str
    repository: str = ""
    patterns: tuple[str, ...] = ()
    file: str = ""


@dataclass(frozen=True)
class Importable:
    """One published model, by the names of the parts that are its own."""

    preset: str
    title: str
    audio: str
    checkpoint: str

    @property
    def parts(self) -> tuple[str, ...]:
        return (*COMMON, self.audio, self.checkpoint)


HUGGING_FACE = "https://huggingface.co/"
CODE = "BSD-3-Clause code; trained on data for research only (EULA)"
PARTS = {
    part.name: part
    for part in (
        Part(
            "llama-2-7b-chat",
            "language model, 6.74e9 parameters in float16",
            13.5,
            "Llama 2 Community License; its terms must be accepted on the page first",
            HUGGING_FACE + "meta-llama/Llama-2-7b-chat-hf",
            "meta-llama/Llama-2-7b-chat-hf",
            ("*.json", "*.safetensors", "tokenizer.model"),
        ),
        Part(
            "eva-vit-g",
            "EVA ViT-g/14, 1.01e9 parameters in float16",
            2.0,
            "BSD-3-Clause (LAVIS), MIT (EVA)",
            "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models/BLIP2/eva_vit_g.pth",
            file="eva_vit_g.pth",
        ),
        Part(
            "whisper-large-v3",
            "audio encoder of v2, 1.54e9 parameters in float16 with its decoder, which is not imported",
            3.1,
            "Apache-2.0",
            HUGGING_FACE + "openai/whisper-large-v3",
            "openai/whisper-large-v3",
            ("*.json", "model.safetensors"),
        ),
        Part(
            "chinese-hubert-large",
            "audio encoder of v1, 3.2e8 parameters in float32",
            1.3,
            "MIT",
            HUGGING_FACE + "TencentGameMate/chinese-hubert-large",
            "TencentGameMate/chinese-hubert-large",
            ("*.json", "pytorch_model.bin"),
        ),
        Part(
            "emotion-llama-v2",
            "checkpoints of v2, stage 1 and stage 2: 7.2e7 trained parameters, and the optimiser's state where they hold it",
            0.0,
            CODE,
            HUGGING_FACE + "ooochen/Emotion-LLaMA-v2",
            "ooochen/Emotion-LLaMA-v2",
            ("*.pth",),
        ),
        Part(
            "emotion-llama",
            "checkpoint of v1 (Emoation_LLaMA.pth, as its authors spell it): the demo's",
            0.0,
            CODE,
            "https://drive.google.com/file/d/1pNngqXdc3cKr9uLNW-Hu3SKvOpjzfzGY/view",
            file="Emoation_LLaMA.pth",
        ),
    )
}
COMMON = ("llama-2-7b-chat", "eva-vit-g")
IMPORTABLE = (
    Importable("emotion_llama_v2", "Emotion-LLaMAv2", audio="whisper-large-v3", checkpoint="emotion-llama-v2"),
    Importable("emotion_llama", "Emotion-LLaMA (v1)", audio="chinese-hubert-large", checkpoint="emotion-llama"),
)


def commands(importable: Importable, root: Path) -> list[str]:
    """What to type, in order: fetch each part below `root`, then import."""
    lines = []
    for name in importable.parts:
        part = PARTS[name]
        if part.repository:
            lines.append(f"emollama models --download {name} --revision COMMIT --to {root / name}")
        elif part.file.endswith(".pth") and "drive.google" in part.page:
            lines.append(f"# fetch {part.page} with a browser, to {root / part.file}")
        else:
            lines.append(f"curl --location --create-dirs --continue-at - --output {root / part.file} {part.page}")
    checkpoint = PARTS[importable.checkpoint]
    given = root / checkpoint.file if checkpoint.file else root / checkpoint.name / "CHECKPOINT.pth"
    lines.append(
        f"python -m export.import_checkpoint --preset {importable.preset} --checkpoint {given} --eva {root / PARTS['eva-vit-g'].file} "
        f"--audio {root / importable.audio} --llama {root / 'llama-2-7b-chat'} --output models/{importable.preset}"
    )
    return lines


def table(root: Path) -> str:
    """All that can be imported, for a person to read."""
    lines = []
    for importable in IMPORTABLE:
        lines.append(f"\n{importable.title}: preset {importable.preset}, to be imported")
        for name in importable.parts:
            part = PARTS[name]
            size = f"about {part.gigabytes:.1f} GB, computed" if part.gigabytes else "size: see its page"
            lines += [f"  {part.name:<22} {part.what}", f"  {'':<22} {size}; {part.licence}", f"  {'':<22} {part.page}"]
        lines += [f"  $ {line}" if not line.startswith("#") else f"  {line}" for line in commands(importable, root)]
    lines.append(
        "\nCOMMIT is the commit of the page's history to fetch: it pins what you get. Import records the hashes of all it reads.\n"
        "Licences are told as their pages had them; read the page before you use a part."
    )
    return "\n".join(lines)


def download(name: str, revision: str, to: Path) -> Path:
    """Fetch one part from Hugging Face at a pinned revision; a stopped one goes on where it was. ModelFolderError with the cure."""
    part = PARTS.get(name)
    if part is None or not part.repository:
        known = ", ".join(entry.name for entry in PARTS.values() if entry.repository)
        where = f"; {name} lies at {part.page}" if part else ""
        raise ModelFolderError(f"{name!r} cannot be fetched from Hugging Face{where}; --download knows {known}")
    if not revision:
        raise ModelFolderError(f"--download needs --revision COMMIT, so that it is known what was fetched; see {part.page}/commits/main")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ModelFolderError(f"huggingface_hub is missing ({error}); install it: pip install 'ros2-emollama[download]'") from error
    try:
        return Path(snapshot_download(part.repository, revision=revision, local_dir=to, allow_patterns=list(part.patterns)))
    except Exception as error:  # huggingface_hub raises classes of its own, of requests and of the operating system
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        cure = "accept its terms on the page and log in (hf auth login), or try again: what is there already is kept"
        raise ModelFolderError(f"{part.repository} at {revision} was not fetched ({line:.200}); {cure}") from error
