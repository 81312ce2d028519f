"""Agents without a server: measures of this package put into its own words. The offline default.

A rank is where a measure stands among a set's own clips, or among those that training measured (--norms). What cannot be measured is not
spoken of, and the same clip always gets the same words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..benchmarks.registry import FORMS
from ..cues import Cues, cues_of
from ..face_measures import FACE_MEASURES
from ..lexicon import FACE_CUES, VOICE_CUES
from ..measures import Norm, Norms
from ..sentences import FEELINGS, describe_face, describe_voice, explain
from ..voice_measures import VOICE_MEASURES
from .action_units import Expression
from .agents import Case, Finding
from .measuring import Measured

LEAST_CLIPS = 20  # below it a rank among the set's own clips says little
RAISED = 1 / 3  # rank from which a landmark measure counts as an active unit
LANDMARK_UNITS: Mapping[tuple[str, int], str] = {
    ("brow_height", 1): "AU01/02 brow raiser",
    ("brow_gap", -1): "AU04 brow lowerer",
    ("eye_opening", 1): "AU05 upper lid raiser",
    ("eye_opening", -1): "AU07 lid tightener",
    ("lip_corners", 1): "AU12 lip corner puller",
    ("lip_corners", -1): "AU15 lip corner depressor",
    ("mouth_width", 1): "AU20 lip stretcher",
    ("mouth_opening", 1): "AU25/26 lips part, jaw drop",
}


def norms_among(measured: Iterable[Measured]) -> Norms:
    """What is usual among these clips: of faces in every frame that was measured, of voices in every clip."""
    clips = list(measured)
    tables = (
        (FACE_MEASURES, [row for clip in clips for row in clip.faces]),
        (VOICE_MEASURES, [clip.voice for clip in clips if clip.voice]),
    )
    found = {}
    for names, rows in tables:
        for place, name in enumerate(names):
            values = [row[place] for row in rows if row[place] is not None]
            if values:
                found[name] = Norm.of(values)  # type: ignore[arg-type]
    return Norms(found)


def expression_among(measured: Measured, norms: Norms) -> Expression:
    """Landmarks' expression: the peak is the frame whose measures lie furthest from what is usual, taken together."""
    if not measured.faces:
        return Expression()
    ranks = [norms.ranks(_named(FACE_MEASURES, row)) for row in measured.faces]
    peak = int(np.argmax([sum(abs(rank) for rank in row.values()) for row in ranks]))
    sides = {(name, 1 if rank > 0 else -1): abs(rank) for name, rank in ranks[peak].items() if abs(rank) > RAISED}
    active = {unit: round(sides[claim], 2) for claim, unit in LANDMARK_UNITS.items() if claim in sides}
    return Expression("landmarks", measured.frames[peak], measured.seconds[peak], dict(sorted(active.items(), key=lambda item: -item[1])))


def cues_at(measured: Measured, norms: Norms, peak_frame: int | None) -> Cues:
    """Cues of a clip at its peak frame, or at the measured one that is nearest."""
    box, face = None, None
    if measured.faces:
        wanted = measured.frames[0] if peak_frame is None else peak_frame
        place = min(range(len(measured.frames)), key=lambda i: abs(measured.frames[i] - wanted))
        box, face = measured.boxes[place], _named(FACE_MEASURES, measured.faces[place])
    voice = _named(VOICE_MEASURES, measured.voice) if measured.voice else None
    return cues_of(norms, box, face, voice if voice and np.isfinite(voice["level_dbfs"]) else None)


def _named(names: Sequence[str], row: Sequence[float | None]) -> dict[str, float]:
    return {name: float("nan") if value is None else value for name, value in zip(names, row, strict=True)}


def _spoken(label: str) -> str:
    """A label as the sentences say it: "anger" is "angry"."""
    plain = label.strip().lower()
    return next((form for forms in FORMS if plain in forms for form in sorted(forms) if form in FEELINGS), plain)


@dataclass(frozen=True)
class LocalAgent:
    """Says in one slot what was measured. `measured` by video_id."""

    slot: str
    measured: Mapping[str, Measured]
    norms: Norms
    name: str = "measures"
    needs_media: bool = False

    async def find(self, case: Case) -> Finding:
        measured = self.measured.get(case.clip.video_id)
        if measured is None:
            return Finding("absent", model=self.name, detail="the clip was not measured")
        cues = cues_at(measured, self.norms, case.expression.peak_frame)
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"{self.slot}/{case.clip.video_id}".encode()).digest()[:8], "big"))
        if self.slot == "visual":
            return self._said(describe_face(cues, rng) + "." if cues.of(FACE_CUES) else "", "no face was found")
        if self.slot == "audio":
            return self._said(describe_voice(cues, rng) + "." if cues.of(VOICE_CUES) else "", "no voice was found")
        if not case.clip.label:
            return Finding("absent", model=self.name, detail="measures say nothing of a feeling; the clip needs a label")
        return self._said(explain(cues, _spoken(case.clip.label), rng), "")

    def _said(self, text: str, missing: str) -> Finding:
        return Finding("ok", text[0].upper() + text[1:], self.name) if text else Finding("absent", model=self.name, detail=missing)
