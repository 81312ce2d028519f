"""A model is a folder: manifest.json and the files it names, each with its SHA-256. No pickle, no torch.

manifest.json    preset (all its numbers), graphs, language files, licence, hashes
*.onnx           the encoder graphs (names and tensors: graphs.py)
network.safetensors   the same weights for the torch runtime (optional)
llama/…          the 4-bit graph, embeddings.safetensors, tokenizer.json
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .presets import Preset, preset_from_dict

FORMAT = 1
MANIFEST = "manifest.json"
LONGEST_NAME = 255  # bytes


class ModelFolderError(RuntimeError):
    """The folder cannot be used; the message names the file and ends with the cure."""


@dataclass(frozen=True)
class Manifest:
    """What a model folder says of itself.

    graphs    graph name -> file
    language  role -> file: "graph", "embeddings", "tokenizer", and "weights" (a folder) where torch may run it
    files     file -> {"sha256", "bytes"}; every file the model needs
    info      free facts for a person: licence, training data, figures
    """

    name: str
    preset: Preset
    graphs: Mapping[str, str]
    language: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]]
    info: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> str:
        content = {
            "format": self.format,
            "name": self.name,
            "info": dict(self.info),
            "preset": self.preset.to_dict(),
            "graphs": dict(self.graphs),
            "language": dict(self.language),
            "files": {key: dict(value) for key, value in sorted(self.files.items())},
        }
        return json.dumps(content, indent=1) + "\n"


def file_facts(path: Path) -> dict[str, Any]:
    """SHA-256 and size of one file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return {"sha256": digest.hexdigest(), "bytes": path.stat().st_size}


@dataclass(frozen=True)
class ModelFolder:
    """An opened folder: paths by role. `open_folder` is the way to one."""

    root: Path
    manifest: Manifest

    @property
    def preset(self) -> Preset:
        return self.manifest.preset

    @property
    def model_id(self) -> str:
        """Name and the first figures of the manifest's own hash: changes whenever any file does."""
        return f"{self.manifest.name}@{file_facts(self.root / MANIFEST)['sha256'][:12]}"

    def graph(self, name: str) -> Path:
        return self._named(self.manifest.graphs, name, "graph")

    def language(self, role: str) -> Path:
        return self._named(self.manifest.language, role, "language file")

    def _named(self, table: Mapping[str, str], name: str, what: str) -> Path:
        if name not in table:
            known = ", ".join(sorted(table)) or "none"
            raise ModelFolderError(
                f"{self.root} has no {what} {name!r} (it has: {known}); export it again: python -m export.to_onnx --help"
            )
        return self.root / table[name]

    def verify(self, language: bool = True) -> None:
        """Check every file against the manifest. ModelFolderError naming the first missing or altered one.

        language  False: the language model's files may be missing, for another machine runs it
        """
        folders = {Path(name).parts[:1] for name in self.manifest.language.values()} - {()}
        for name, facts in self.manifest.files.items():
            path = self.root / name
            if not language and Path(name).parts[:1] in folders:
                continue
            if not path.is_file():
                raise ModelFolderError(
                    f"model file {path} is missing; restore it (for the shipped model: git checkout -- models/{self.manifest.name})"
                )
            found = file_facts(path)
            if found["sha256"] != facts["sha256"]:
                raise ModelFolderError(
                    f"model file {path} is not the one in the manifest (sha256 {found['sha256'][:12]}…, expected {facts['sha256'][:12]}…); "
                    f"restore it (for the shipped model: git checkout -- models/{self.manifest.name}) or export the model again"
                )


def open_folder(root: Path) -> ModelFolder:
    """Read a folder's manifest; files are not hashed until `verify`. ModelFolderError with the cure."""
    path = root / MANIFEST
    if not path.is_file():
        raise ModelFolderError(f"no model at {root}: {MANIFEST} is missing; give model.path a model's name or a folder that holds one")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("format") != FORMAT:
            raise ModelFolderError(f"{path} is of format {content.get('format')!r}, this version reads {FORMAT}; export the model again")
        manifest = Manifest(
            name=str(content["name"]),
            preset=preset_from_dict(content["preset"]),
            graphs=_texts(content, "graphs"),
            language=_texts(content, "language"),
            files=_files(content),
            info=dict(content.get("info", {})),
        )
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ModelFolderError(f"{path} cannot be read: {error}; restore it or export the model again") from error
    _refuse_escapes(root, manifest)
    return ModelFolder(root, manifest)


def _refuse_escapes(root: Path, manifest: Manifest) -> None:
    """A manifest may only name files inside its own folder, all of them hashed."""
    named = (*manifest.graphs.values(), *manifest.language.values())
    for name in (*manifest.files, *named):
        if not name or "\0" in name or len(name.encode("utf-8", "replace")) > LONGEST_NAME:
            raise ModelFolderError(f"{root / MANIFEST} names {name[:40]!r}, which is no file's name; restore it or export the model again")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ModelFolderError(f"{root / MANIFEST} names {name!r}, outside its folder; do not use this model")
    hashed = {parent.as_posix() for name in manifest.files for parent in (Path(name), *Path(name).parents)}  # files, and folders of them
    unhashed = [name for name in named if name not in hashed]
    if unhashed:
        raise ModelFolderError(f"{root / MANIFEST} gives no hash for {', '.join(unhashed)}; export the model again")


def _texts(content: Mapping[str, Any], key: str) -> dict[str, str]:
    """A table of texts. ValueError where it holds anything else."""
    table = content[key]
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise ValueError(f"{key} must be a table of file names")
    return table


def _files(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    table = content["files"]
    if not isinstance(table, dict) or not all(isinstance(facts, dict) and isinstance(facts.get("sha256"), str) for facts in table.values()):
        raise ValueError("files must be a table of file names with their sha256")
    return table


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Hash every file below `root` (but the manifest, and what is said of the model: card, report, pictures) and write the manifest,
    atomically. What is said of a model is measured of its manifest's hash, so it cannot be part of it."""
    skipped, suffixes = {MANIFEST, "MODEL_CARD.md", "report.json"}, (".png", ".svg", ".md", ".tmp")
    paths = sorted(path for path in root.rglob("*") if path.is_file() and path.name not in skipped and path.suffix not in suffixes)
    files = {path.relative_to(root).as_posix(): file_facts(path) for path in paths}
    put_manifest(root, replace(manifest, files=files))


def put_manifest(root: Path, manifest: Manifest) -> None:
    """Write it as it is, atomically; `write_manifest` hashes first."""
    temporary = root / (MANIFEST + ".tmp")
    temporary.write_text(manifest.to_json(), encoding="utf-8")
    temporary.replace(root / MANIFEST)


def find_model(name_or_path: str) -> Path:
    """A shipped model's folder by name, or the given folder. ModelFolderError listing what there is."""
    given = Path(name_or_path).expanduser()
    if given.is_dir():
        return given
    for base in model_roots():
        if (base / name_or_path / MANIFEST).is_file():
            return base / name_or_path
    known = sorted({path.parent.name for base in model_roots() for path in base.glob(f"*/{MANIFEST}")})
    raise ModelFolderError(f"no model {name_or_path!r}; shipped: {', '.join(known) or 'none'}; or give a folder that holds {MANIFEST}")


def model_roots() -> list[Path]:
    """Where models may lie: the checkout, and share/emollama/models of every installed prefix."""
    checkout = Path(__file__).resolve().parents[2] / "models"
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    return [checkout, *(prefix / "share" / "emollama" / "models" for prefix in [*prefixes, Path(sys.prefix)])]
