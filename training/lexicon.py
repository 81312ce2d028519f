"""Claims and their words: what a text may say of a window, in words that a layman reads, and how it is found again in a text.

A claim is a measure and a side of it: ("pitch_hz", 1) is a high voice, ("face", -1) is nobody in view. Every phrase belongs to one claim
and to no other, and no connective around them forms one, so that a parser finds in a text exactly what was said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

Claim = tuple[str, int]


class Phrase(NamedTuple):
    """clause: a short sentence of its own; noun: the same after "with"."""

    clause: str
    noun: str


def _phrases(*pairs: tuple[str, str]) -> tuple[Phrase, ...]:
    return tuple(Phrase(*pair) for pair in pairs)


PHRASES: Mapping[Claim, tuple[Phrase, ...]] = {
    ("face", 1): _phrases(("a face is in view", "a face in view"), ("somebody can be seen", "somebody in view")),
    ("face", -1): _phrases(("no face is in view", "no face in view"), ("nobody can be seen", "nobody in view")),
    ("face_size", 1): _phrases(
        ("the face is near the camera", "a face near the camera"),
        ("the face is close", "a close face"),
        ("the face is large in the view", "a large face"),
    ),
    ("face_size", -1): _phrases(
        ("the face is far from the camera", "a face far from the camera"),
        ("the face is far away", "a face far away"),
        ("the face is small in the view", "a small face"),
    ),
    ("face_place", -1): _phrases(
        ("the face is on the left", "a face on the left"), ("the face is left of the middle", "a face left of the middle")
    ),
    ("face_place", 1): _phrases(
        ("the face is on the right", "a face on the right"), ("the face is right of the middle", "a face right of the middle")
    ),
    ("brow_height", 1): _phrases(("the brows are raised", "raised brows"), ("the brows are lifted", "lifted brows")),
    ("brow_height", -1): _phrases(("the brows are lowered", "lowered brows"), ("the brows are drawn down", "brows drawn down")),
    ("brow_gap", -1): _phrases(
        ("the brows are drawn together", "brows drawn together"), ("the brows are close together", "brows close together")
    ),
    ("brow_gap", 1): _phrases(("the brows are far apart", "brows far apart"), ("the brows are wide apart", "brows wide apart")),
    ("eye_opening", 1): _phrases(("the eyes are wide open", "wide open eyes"), ("the eyes are opened wide", "eyes opened wide")),
    ("eye_opening", -1): _phrases(("the eyes are narrowed", "narrowed eyes"), ("the eyes are nearly closed", "nearly closed eyes")),
    ("mouth_opening", 1): _phrases(("the mouth is open", "an open mouth"), ("the lips are parted", "parted lips")),
    ("mouth_opening", -1): _phrases(("the mouth is closed", "a closed mouth"), ("the lips are shut", "shut lips")),
    ("mouth_width", 1): _phrases(("the mouth is stretched wide", "a mouth stretched wide"), ("the mouth is broad", "a broad mouth")),
    ("mouth_width", -1): _phrases(("the mouth is narrow", "a narrow mouth"), ("the mouth is drawn in", "a mouth drawn in")),
    ("lip_corners", 1): _phrases(
        ("the lip corners are raised", "raised lip corners"), ("the mouth curves upwards", "a mouth that curves upwards")
    ),
    ("lip_corners", -1): _phrases(
        ("the lip corners are pulled down", "lip corners pulled down"), ("the mouth curves downwards", "a mouth that curves downwards")
    ),
    ("speech", 1): _phrases(("a voice is heard", "a voice to be heard"), ("somebody is heard", "somebody to be heard")),
    ("speech", -1): _phrases(("no voice is heard", "no voice to be heard"), ("nobody is heard", "nobody to be heard")),
    ("pitch_hz", 1): _phrases(("the voice is high", "a high voice"), ("the pitch is high", "a high pitch")),
    ("pitch_hz", -1): _phrases(("the voice is deep", "a deep voice"), ("the pitch is low", "a low pitch")),
    ("pitch_range_semitones", 1): _phrases(
        ("the melody is lively", "a lively melody"), ("the voice rises and falls", "a voice that rises and falls")
    ),
    ("pitch_range_semitones", -1): _phrases(("the melody is flat", "a flat melody"), ("the voice stays level", "a voice that stays level")),
    ("level_dbfs", 1): _phrases(("the voice is loud", "a loud voice"), ("the speech is loud", "loud speech")),
    ("level_dbfs", -1): _phrases(("the voice is quiet", "a quiet voice"), ("the speech is quiet", "quiet speech")),
    ("rate_per_second", 1): _phrases(("the speech is fast", "fast speech"), ("the words come fast", "fast words")),
    ("rate_per_second", -1): _phrases(("the speech is slow", "slow speech"), ("the words come slowly", "slow words")),
    ("pause_share", 1): _phrases(("there are many pauses", "many pauses"), ("the speech is full of pauses", "speech full of pauses")),
    ("pause_share", -1): _phrases(("there are no pauses", "no pauses"), ("the speech is fluent", "fluent speech")),
    ("roughness", 1): _phrases(("the voice is rough", "a rough voice"), ("the voice is hoarse", "a hoarse voice")),
    ("roughness", -1): _phrases(("the voice is clear", "a clear voice"), ("the voice is smooth", "a smooth voice")),
}
FACE_CUES = ("brow_height", "brow_gap", "eye_opening", "mouth_opening", "mouth_width", "lip_corners", "face_size", "face_place")
VOICE_CUES = ("pitch_hz", "pitch_range_semitones", "level_dbfs", "rate_per_second", "pause_share", "roughness")


@cache
def _pattern() -> tuple[re.Pattern[str], dict[str, Claim]]:
    claims = {text: claim for claim, phrases in PHRASES.items() for phrase in phrases for text in phrase}
    longest_first = sorted(claims, key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(re.escape(text) for text in longest_first) + r")\b"), claims


def _spans(text: str) -> list[tuple[int, int, Claim]]:
    pattern, claims = _pattern()
    plain = re.sub(r"\s", " ", text.lower())
    return [(*found.span(), claims[found.group()]) for found in pattern.finditer(plain)]


def parse(text: str) -> tuple[Claim, ...]:
    """The claims of a text in the order they are made, each once; the longest phrase wins where several begin."""
    return tuple(dict.fromkeys(claim for _, _, claim in _spans(" ".join(text.split()))))


def without_claims(text: str) -> str:
    """The rest of a text: its connectives, the state's label, and what is no phrase of ours."""
    plain = " ".join(text.split())
    for start, end, _ in reversed(_spans(plain)):
        plain = plain[:start] + plain[end:]
    return " ".join(plain.split())
