"""Weights written as they come: safetensors shards of a bounded size and the index that names them, as Hugging Face lays them out."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


class ShardWriter:
    """Holds no more than one shard. `close` writes the rest; one shard alone gets the plain name and no index."""

    def __init__(self, folder: Path, stem: str, shard_bytes: int) -> None:
        self._folder, self._stem, self._limit = folder, stem, shard_bytes
        self._held: dict[str, Tensor] = {}
        self._held_bytes = 0
        self._files: list[tuple[Path, list[str]]] = []
        self.total_bytes = 0
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, tensor: Tensor) -> None:
        size = tensor.numel() * tensor.element_size()
        if self._held and self._held_bytes + size > self._limit:
            self._flush()
        self._held[name] = tensor.detach().contiguous().clone()  # shards must not hold views of one mapped file
        self._held_bytes += size
        self.total_bytes += size

    def _flush(self) -> None:
        path = self._folder / f"{self._stem}-part-{len(self._files) + 1:05d}.safetensors"
        save_file(self._held, path, {"format": "pt"})
        path.chmod(0o644)  # safetensors leaves it to its owner alone, and a robot's node may be another user's
        self._files.append((path, list(self._held)))
        self._held, self._held_bytes = {}, 0

    def close(self) -> list[Path]:
        """The files, in order."""
        if self._held:
            self._flush()
        if len(self._files) == 1:
            whole = self._folder / f"{self._stem}.safetensors"
            self._files[0][0].rename(whole)
            return [whole]
        places: dict[str, str] = {}
        named: list[Path] = []
        for number, (path, keys) in enumerate(self._files, start=1):
            final = self._folder / f"{self._stem}-{number:05d}-of-{len(self._files):05d}.safetensors"
            path.rename(final)
            named.append(final)
            places |= dict.fromkeys(keys, final.name)
        index = self._folder / f"{self._stem}.safetensors.index.json"
        content = {"metadata": {"total_size": self.total_bytes}, "weight_map": places}
        index.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return named
