"""What may be said of one window: ranks of what was measured, and which of them are worth saying.

A rank is where a measure stands among those of the train split (see measures.Norm): -1 below all, 0 at the median, 1 above all. A claim is
true when its measure lies on its side of the median; it is named when the rank lies far out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .lexicon import FACE_CUES, VOICE_CUES, Claim
from .measures import Norm, Norms

NAMED = 0.4  # named beyond this rank, on either side: a rank read from tokens lies nearer the median than the measured one,
STRONG = 0.8  # and strong in the outer fifth of a side
MOST, LEAST = 5, 3  # claims in an explanation
HEIGHTS = (0.09, 0.95)  # of faces in a view, as the locator learns them
MIDDLE = (0.2, 0.8)  # centres of faces across the view
LEVELS_DBFS = (-44.0, -14.0)  # of the speaking part: microphones' gains are anything, so no corpus can say what is usual
VIEW_NORMS: Mapping[str, Norm] = {
    "face_size": Norm.of(np.geomspace(*HEIGHTS, 1001)),
    "face_place": Norm.of(np.linspace(*MIDDLE, 1001)),
    "level_dbfs": Norm.of(np.linspace(*LEVELS_DBFS, 1001)),
}


@dataclass(frozen=True)
class Cues:
    """Who is there, and the ranks in [-1, 1] of what was measured of them; what was not measured is missing."""

    face: bool
    speech: bool
    ranks: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.ranks) - set(FACE_CUES if self.face else ()) - set(VOICE_CUES if self.speech else ())
        if unknown:
            raise ValueError(f"nobody there of whom to say {', '.join(sorted(unknown))}")

    def of(self, names: tuple[str, ...]) -> list[Claim]:
        """Claims of these measures, the furthest out first."""
        found = [(name, int(np.sign(rank))) for name, rank in self.ranks.items() if name in names and rank != 0]
        return sorted(found, key=lambda claim: -abs(self.ranks[claim[0]]))

    @property
    def absent(self) -> list[Claim]:
        return [(name, -1) for name, present in (("face", self.face), ("speech", self.speech)) if not present]

    def holds(self, claim: Claim) -> bool:
        """Whether a claim is true of this window."""
        name, side = claim
        if name in ("face", "speech"):
            return (self.face if name == "face" else self.speech) == (side > 0)
        return self.ranks.get(name, 0.0) * side > 0

    def strong(self) -> set[Claim]:
        """What a good explanation should not leave out."""
        return {(name, int(np.sign(rank))) for name, rank in self.ranks.items() if abs(rank) > STRONG}

    def worth_saying(self, names: tuple[str, ...] = FACE_CUES + VOICE_CUES, most: int = MOST, least: int = LEAST) -> list[Claim]:
        """At most `most` claims of these measures beyond NAMED, the furthest out first; less far ones where that gives fewer than `least`.

        Of a face and a voice both have a say where both can be measured.
        """
        ordered = self.of(names)
        chosen = [claim for claim in ordered if abs(self.ranks[claim[0]]) > NAMED][:most]
        chosen += [claim for claim in ordered if claim not in chosen][: max(0, least - len(chosen))]
        for kind in (FACE_CUES, VOICE_CUES):
            own = [claim for claim in ordered if claim[0] in kind]
            if own and not any(claim in chosen for claim in own):
                chosen = [*chosen[: most - 1], own[0]]
        return chosen


def view_ranks(box: tuple[float, float, float]) -> dict[str, float]:
    """Ranks of a face's size and place from centre x, centre y and height as fractions of the canvas."""
    return {"face_size": VIEW_NORMS["face_size"].rank(box[2]), "face_place": VIEW_NORMS["face_place"].rank(box[0])}


def cues_of(
    norms: Norms,
    box: tuple[float, float, float] | None = None,
    face: Mapping[str, float] | None = None,
    voice: Mapping[str, float] | None = None,
) -> Cues:
    """Cues of one window.

    box     centre x, centre y, height of the face as fractions of the canvas; None without a face
    face    measures of the face by name (NaN or missing: not measured)
    voice   measures of the voice by name, its level as the window holds it; None where nobody speaks
    """
    known = Norms({name: norm for name, norm in {**norms, **VIEW_NORMS}.items() if name in FACE_CUES + VOICE_CUES})
    ranks: dict[str, float] = {}
    if box is not None:
        ranks |= view_ranks(box) | {name: rank for name, rank in known.ranks(face or {}).items() if name in FACE_CUES}
    if voice is not None:
        ranks |= {name: rank for name, rank in known.ranks(voice).items() if name in VOICE_CUES}
    return Cues(box is not None, voice is not None, ranks)
