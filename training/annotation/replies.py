"""What a completion says: an answer, a refusal, or nothing of use. No body of any shape raises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["ok", "refused", "malformed", "cut_short"]

_REFUSAL = re.compile(
    r"\W*(i['’]?m (very |really )?sorry|sorry|i apologi[sz]e|unfortunately),? (but )?(i|as an ai)\b"
    r"|\W*(i|we) (can['’]?t|cannot|can not|am (not able|unable)|['’]?m (not able|unable)|won['’]?t) "
    r"(to )?(assist|help|comply|provide|identify|determine|infer|analy[sz]e|make|do|fulfil)"
    r"|\W*as an ai\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Reply:
    """What a model said, and whether it is of use. `detail` says why not."""

    text: str
    status: Status
    model: str
    detail: str = ""
    cached: bool = False


def read_reply(body: Mapping[str, Any], model: str, cached: bool = False) -> Reply:
    """What a completion's body says. Never raises: a body of another shape is a malformed reply."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
    message = choice.get("message")
    said = message if isinstance(message, Mapping) else {}
    reason, refusal, content = choice.get("finish_reason"), said.get("refusal"), said.get("content")
    if isinstance(content, list):  # parts, as some servers answer
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    text = content.strip() if isinstance(content, str) else ""
    if refusal or reason == "content_filter" or _REFUSAL.match(text):
        return Reply(text or str(refusal or ""), "refused", model, str(refusal or reason or "refusal")[:200], cached)
    if not text:
        shown = "no message" if not said else f"content {str(content)[:80]!r}"
        return Reply("", "malformed", model, f"nothing was said: {shown}", cached)
    if reason == "length":
        return Reply(text, "cut_short", model, "the answer ends at max_tokens", cached)
    return Reply(text, "ok", model, "", cached)
