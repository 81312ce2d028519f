"""Training clips of some speakers are held apart: the temperatures of the label head are fitted on people that nothing was learnt from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from ros2_emollama.model.label_head import TEMPERATURES
from ros2_emollama.model.network import EmotionNetwork

from ..records import Clip
from ..scores import best_temperature
from .lesson import AUDIO_MASK, FRAME_MASK, Shown, logits_of, one_stream
from .tokens import Tokens

LEAST_CLIPS, LEAST_SPEAKERS = 40, 4  # of training, before any are held apart
SHARE = 0.2  # of the clips, about
LEAST_FITTED = 12  # clips that a temperature is fitted on
CANDIDATES = np.exp(np.linspace(np.log(0.5), np.log(4.0), 60)).tolist()
WITHOUT = {"both": None, "video": AUDIO_MASK, "audio": FRAME_MASK}
"""Which stream windows lose to be of that set."""


def held_apart(clips: Sequence[Clip], seed: int) -> tuple[npt.NDArray[np.bool_], str]:
    """(clips,) which are not trained on, whole speakers; and why there are none, where there are none."""
    apart = np.zeros(len(clips), np.bool_)
    speakers = sorted({clip.speaker for clip in clips})
    if len(clips) < LEAST_CLIPS or len(speakers) < LEAST_SPEAKERS or "" in speakers:
        need = f"{LEAST_CLIPS} training clips of {LEAST_SPEAKERS} speakers, every one named in the column speaker"
        return apart, f"they are fitted where there are {need}; here are {len(clips)} of {len(set(speakers) - {''})}"
    of = np.array([speakers.index(clip.speaker) for clip in clips])
    labels = np.array([clip.label("emotion") for clip in clips])
    for speaker in np.random.default_rng(seed).permutation(len(speakers)):
        more = apart | (of == speaker)
        if more.mean() <= 2 * SHARE and set(labels[~more]) == set(labels):
            apart = more
        if apart.mean() >= SHARE:
            return apart, ""
    return np.zeros(len(clips), np.bool_), "no speakers could be held apart without taking most clips, or the last ones of a label"


def fit_temperatures(
    network: EmotionNetwork, clips: Tokens, shown: Shown, labels: npt.NDArray[np.int64], apart: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Set them in place, by the least negative log likelihood over windows of the clips held apart; those that were fitted, by their name.

    A set of streams that too few of these clips have keeps what it had.
    """
    table = network.label_head.temperatures
    fitted: dict[str, float] = {}
    for name, lost in WITHOUT.items():
        places = np.concatenate([shown.places[clip] for clip in np.flatnonzero(apart)])
        rows = clips.rows(places)
        rows = rows if lost is None else one_stream(rows, lost)
        seen, heard = (rows[mask].amax(1).numpy() > 0 for mask in (FRAME_MASK, AUDIO_MASK))
        alone = shown.alone[places]
        wanted = {"both": seen & heard, "video": seen & alone[:, 0], "audio": heard & alone[:, 1]}[name]
        if np.unique(clips.clip[places[wanted]]).size < LEAST_FITTED:
            continue
        index = TEMPERATURES.index(name)
        with torch.no_grad():
            table[index] = 1.0
        logits = logits_of(network, [tensor[torch.from_numpy(wanted)] for tensor in rows])
        best, _ = best_temperature(logits.double().numpy(), labels[clips.clip[places[wanted]]], CANDIDATES)
        with torch.no_grad():
            table[index] = best
        fitted[name] = round(best, 4)
    return fitted
