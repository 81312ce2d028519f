"""Which labels a taught model has: the start's, where its own are enough, else those of the CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ros2_emollama.model.presets import Preset
from ros2_emollama.reasoner.prompt import BEGUN, clean_text
from ros2_emollama.types import UNKNOWN

from ..curriculum.own import labels_of
from ..records import Clip

LONGEST = 40  # characters of a label: it stands in prompts, pictures and terminals


def taught_preset(start: Preset, clips: Sequence[Clip]) -> Preset:
    """The preset that comes of these clips; the same labels as the start's where every own label is one of those.

    Other labels are no words of the start's language model: it is told how its answers begin (reasoner/prompt.py, OPENING).
    ValueError naming a label that cannot be one, or that the start spells otherwise.
    """
    own = labels_of(clips)
    for label in own:
        _check(label)
    if set(own) <= set(start.labels):
        return start
    spelled = {label.casefold(): label for label in start.labels}
    if all(label.casefold() in spelled for label in own):
        other = next(label for label in own if label not in start.labels)
        spelling = spelled[other.casefold()]
        raise ValueError(f"the start spells the label {other!r} as {spelling!r}; write it so, and what the start knows is kept")
    return replace(start, labels=own, prompt=BEGUN)


def _check(label: str) -> None:
    if label == UNKNOWN:
        raise ValueError(f"no label can be {UNKNOWN!r}: a robot says so where nobody is seen or heard; give those clips another label")
    if clean_text(label, LONGEST) != label:
        raise ValueError(f"the label {label!r} must be plain text of at most {LONGEST} characters, without quotes and brackets; rename it")
