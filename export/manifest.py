"""A language model joins a model folder: its manifest names and hashes the new files, and no old one is read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ros2_emollama.model.folder import file_facts, open_folder, put_manifest


def add_language(root: Path, language: Mapping[str, str], info: Mapping[str, Any]) -> None:
    """Roles and facts are added to those that are there; everything below llama/ is hashed, the rest keeps its hash. ModelFolderError."""
    old = open_folder(root).manifest
    below = sorted(path for path in (root / "llama").rglob("*") if path.is_file() and path.suffix not in (".part", ".tmp"))
    new = {path.relative_to(root).as_posix(): file_facts(path) for path in below}
    files = {name: facts for name, facts in old.files.items() if not name.startswith("llama/")} | new
    put_manifest(root, replace(old, language={**old.language, **language}, files=files, info={**old.info, **info}))
