"""Answers by the hash of what was asked: the same question, with the same media, to the same model, is paid for once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..whole import write_whole

LONG = 512  # characters; longer strings of a payload are media, and only their hash is kept


def content_hash(endpoint: str, payload: Mapping[str, Any]) -> str:
    """SHA-256 of a request: where it goes and all that it holds."""
    text = json.dumps([endpoint, payload], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class ReplyCache:
    """A file an answer, FOLDER/ab/abcdef….json; None as the folder keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def _path(self, key: str) -> Path | None:
        return self._folder / key[:2] / f"{key}.json" if self._folder else None

    def get(self, key: str) -> dict[str, Any] | None:
        """An answer's body; None where there is none, or where its file is damaged, which then is written anew."""
        path = self._path(key)
        if path is None or not path.is_file():
            return None
        try:
            body = json.loads(path.read_text(encoding="utf-8"))["body"]
        except (ValueError, KeyError, TypeError):
            return None
        return body if isinstance(body, dict) else None

    def put(self, key: str, payload: Mapping[str, Any], body: Mapping[str, Any]) -> None:
        path = self._path(key)
        if path is None:
            return
        write_whole(path, json.dumps({"asked": _short(payload), "body": body}, indent=1))


def _short(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _short(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(part) for part in value]
    if isinstance(value, str) and len(value) > LONG and (value.startswith("data:") or " " not in value):  # base64 has no spaces
        return f"sha256:{hashlib.sha256(value.encode()).hexdigest()} ({len(value)} characters)"
    return value
