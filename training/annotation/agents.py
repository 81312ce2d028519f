"""The agents: each looks at one clip and what others found before it, and gives a `Finding`.

Three slots: visual, audio, and reasoning, which puts the others together. Whatever answers in a slot has the same one verb.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from .action_units import Expression
from .chat_api import ApiFailure, ChatClient
from .clips import AnnotationClip
from .evidence import Evidence, picture_url, wav_base64
from .prompts import (
    AUDIO_SYSTEM,
    AUDIO_USER,
    AUDIO_USER_NO_LABEL,
    FUSING_SYSTEM,
    VISUAL_SYSTEM,
    VISUAL_USER,
    VISUAL_USER_NO_LABEL,
    fusing_prompt,
    with_label,
)

Slot = Literal["visual", "audio", "reasoning"]
SLOTS: tuple[Slot, ...] = ("visual", "audio", "reasoning")
FRAMES = 8  # shown to the visual agent
MAX_TOKENS, TEMPERATURE = 400, 0.0


@dataclass(frozen=True)
class Finding:
    """What an agent says of a clip.

    status  ok; cut_short (still of use); refused, malformed (the model's doing, kept); failed (no answer: asked again by the next run);
            absent: there is nothing to look at or listen to
    detail  why it is not ok
    """

    status: Literal["ok", "cut_short", "refused", "malformed", "failed", "absent"]
    text: str = ""
    model: str = ""
    detail: str = ""

    @property
    def of_use(self) -> str:
        """The text, where others may build on it."""
        return self.text if self.status in ("ok", "cut_short") else ""


@dataclass(frozen=True)
class Case:
    """A clip, what was decoded of it, what its face does, and what agents found so far."""

    clip: AnnotationClip
    evidence: Evidence
    expression: Expression
    findings: Mapping[Slot, Finding] = field(default_factory=dict)

    def found(self, slot: Slot) -> str:
        return self.findings[slot].of_use if slot in self.findings else ""


class Agent(Protocol):
    """Somebody who is asked about a clip. Never raises for a clip's sake; ApiUnusable and BudgetSpent end the job."""

    @property
    def name(self) -> str: ...

    @property
    def needs_media(self) -> bool:
        """Whether it looks at frames or listens to sound itself."""
        ...

    async def find(self, case: Case) -> Finding: ...


async def ask(client: ChatClient, system: str, content: str | Sequence[Mapping[str, Any]]) -> Finding:
    """One question as a finding."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": content}]
    try:
        reply = await client.ask(messages, temperature=TEMPERATURE, max_tokens=MAX_TOKENS)
    except ApiFailure as error:
        return Finding("failed", model=client.endpoint.model, detail=str(error))
    return Finding(reply.status, reply.text, reply.model, reply.detail)


@dataclass(frozen=True)
class VisualAgent:
    """A vision language model (Qwen2.5-VL) is shown frames, the peak among them."""

    client: ChatClient
    frames: int = FRAMES
    needs_media: bool = True

    @property
    def name(self) -> str:
        return self.client.endpoint.model

    async def find(self, case: Case) -> Finding:
        looks = case.evidence.some(self.frames, case.expression.peak_frame)
        if not looks:
            return Finding("absent", detail="the clip has no picture")
        urls = await asyncio.to_thread(lambda: [picture_url(look.pixels) for look in looks])
        question = with_label(VISUAL_USER, VISUAL_USER_NO_LABEL, case.clip.label)
        pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        return await ask(self.client, VISUAL_SYSTEM, [*pictures, {"type": "text", "text": question}])


@dataclass(frozen=True)
class AudioAgent:
    """An audio language model (Qwen2-Audio, Audio-Reasoner) is played the clip's sound."""

    client: ChatClient
    needs_media: bool = True

    @property
    def name(self) -> str:
        return self.client.endpoint.model

    async def find(self, case: Case) -> Finding:
        if not case.evidence.has_sound:
            return Finding("absent", detail="the clip has no sound")
        data = await asyncio.to_thread(wav_base64, case.evidence.samples)
        question = with_label(AUDIO_USER, AUDIO_USER_NO_LABEL, case.clip.label)
        sound = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        return await ask(self.client, AUDIO_SYSTEM, [sound, {"type": "text", "text": question}])


@dataclass(frozen=True)
class FusingAgent:
    """A language model (GPT-4o) gets label, transcript, what was heard, what was seen and the action units; no picture and no sound."""

    client: ChatClient
    needs_media: bool = False

    @property
    def name(self) -> str:
        return self.client.endpoint.model

    async def find(self, case: Case) -> Finding:
        audio, visual, units = case.found("audio"), case.found("visual"), case.expression.listed()
        if not (audio or visual or case.expression.active or case.clip.transcript):
            return Finding("absent", detail="no agent found anything to put together")
        return await ask(self.client, FUSING_SYSTEM, fusing_prompt(case.clip.label, case.clip.transcript, audio, visual, units))
