"""Cues and a label → one short paragraph. The agents have measured; here they are put together in words.

Only phrases of the lexicon make claims. The connectives around them make none, and the label carries the reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from .cues import LEAST, Cues
from .lexicon import FACE_CUES, PHRASES, VOICE_CUES, Claim, Phrase

FEELINGS = {
    "neutral": ("seems neutral", "appears to feel neutral"),
    "happy": ("seems happy", "appears to feel happy"),
    "sad": ("seems sad", "appears to feel sad"),
    "angry": ("seems angry", "appears to feel angry"),
    "fear": ("seems to feel fear", "appears to be in fear"),
    "disgust": ("seems to feel disgust", "appears to show disgust"),
    "surprise": ("seems to feel surprise", "appears to show surprise"),
}
OTHER_FEELING = "reads as {label}"  # labels that nano does not have, of whatever kind of word
NOTHING = (
    "{seen} and {heard}, so nothing tells of a feeling: {label}",
    "{heard} and {seen}, so there is nothing to read: {label}",
    "{seen}, {heard}, and the reading is only a guess: {label}",
)
SHEET = {
    "brow_height": "brows",
    "brow_gap": "apart",
    "eye_opening": "eyes",
    "mouth_opening": "open",
    "mouth_width": "mouth",
    "lip_corners": "corners",
    "face_size": "close",
    "face_place": "right",
    "pitch_hz": "pitch",
    "pitch_range_semitones": "melody",
    "level_dbfs": "loud",
    "rate_per_second": "fast",
    "pause_share": "pauses",
    "roughness": "rough",
}
"""Words of the lexicon, one a measure, for `sheet`."""
MOST_OF_ONE, LEAST_OF_ONE = 4, 2  # claims where only the face or only the voice is asked for
SHUFFLE = 0.25  # of a rank: the strongest come first, but not always


def explain(cues: Cues, label: str, rng: np.random.Generator) -> str:
    """One to three sentences that name only what was measured, and the label of the state."""
    if not cues.face and not cues.speech:
        seen, heard = (_choose([(name, -1)], rng)[0].clause for name in ("face", "speech"))
        return _sentence(str(rng.choice(NOTHING)).format(seen=seen, heard=heard, label=label))
    claims = cues.worth_saying(least=LEAST - len(cues.absent))
    seen, heard = (
        _choose(_part(cues, claims, names, presence, rng), rng) for names, presence in ((FACE_CUES, "face"), (VOICE_CUES, "speech"))
    )
    first, second = (seen, heard) if rng.random() < 0.5 else (heard, seen)
    feeling = f"the person {rng.choice(FEELINGS.get(label, (OTHER_FEELING.format(label=label),)))}"
    return _paragraph(int(rng.integers(6)), first, second, feeling, label)


def _paragraph(kind: int, first: Sequence[Phrase], second: Sequence[Phrase], feeling: str, label: str) -> str:
    one, two = _join([phrase.clause for phrase in first]), _join([phrase.clause for phrase in second])
    if kind == 0:
        return f"{_sentence(one)} {_sentence(two)} {_sentence(feeling)}"
    if kind == 1:
        return f"{_sentence(f'{feeling}: {one}')} {_sentence(two)}"
    if kind == 2:
        return f"{_sentence(f'{one}, while {two}')} {_sentence(feeling)}"
    if kind == 3:
        return _sentence(f"with {_join([phrase.noun for phrase in (*first, *second)])}, {feeling}")
    if kind == 4:
        return f"{_sentence(f'{feeling}, with {_join([phrase.noun for phrase in first])}')} {_sentence(f'also, {two}')}"
    return f"{_sentence(one)} {_sentence(two)} {_sentence(f'all this fits {label}')}"


def describe_face(cues: Cues, rng: np.random.Generator) -> str:
    """What is seen, in one sentence without its full stop."""
    return _describe(cues, FACE_CUES, "face", rng)


def describe_voice(cues: Cues, rng: np.random.Generator) -> str:
    """What is heard, in one sentence without its full stop."""
    return _describe(cues, VOICE_CUES, "speech", rng)


def sheet(cues: Cues) -> str:
    """Every rank in figures from 1 to 9, always in the same order: no choice of words hides what there is to be read."""
    return " ".join(f"{word} {round(4 * cues.ranks[name]) + 5}" for name, word in SHEET.items() if name in cues.ranks) or "nothing"


def _describe(cues: Cues, names: tuple[str, ...], presence: str, rng: np.random.Generator) -> str:
    phrases = _choose(_part(cues, cues.worth_saying(names, MOST_OF_ONE, LEAST_OF_ONE), names, presence, rng), rng)
    return _join([phrase.clause for phrase in phrases])


def _part(cues: Cues, claims: Sequence[Claim], names: tuple[str, ...], presence: str, rng: np.random.Generator) -> list[Claim]:
    """The claims of the face or of the voice, in the order they are told; whether it is there at all where there is no more to say."""
    own = [claim for claim in claims if claim[0] in names]
    if not own:
        return [(presence, 1 if (cues.face if presence == "face" else cues.speech) else -1)]
    return sorted(own, key=lambda claim: -abs(cues.ranks[claim[0]]) + SHUFFLE * rng.random())


def _choose(claims: Sequence[Claim], rng: np.random.Generator) -> list[Phrase]:
    """One phrase a claim; those that begin alike do not follow each other where another can be found."""
    chosen: list[Phrase] = []
    for claim in claims:
        phrases = [PHRASES[claim][i] for i in rng.permutation(len(PHRASES[claim]))]
        fresh = [phrase for phrase in phrases if not chosen or _subject(phrase) != _subject(chosen[-1])]
        chosen.append((fresh or phrases)[0])
    return chosen


def _subject(phrase: Phrase) -> str:
    return " ".join(phrase.clause.split()[:2])


def _join(parts: Sequence[str]) -> str:
    parts = [part for part, _ in groupby(parts)]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
