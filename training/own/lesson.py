"""What a step of teaching draws, and what it minimises.

in a batch          what its answer is drawn to                                          why
window of a clip    mostly its label, a little the start's answer                        the label; a handful is not learnt by heart
  … a stream less   the same                                                             a camera or a microphone alone still works
window of nobody    the start's answer, or all labels alike where the start has others   absence says nothing of a feeling
and beside: the rows that the language model reads stay the start's, and weights are drawn back to the start's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ros2_emollama.config import LabelsConfig
from ros2_emollama.model.network import EmotionNetwork

from ..draws import balanced
from ..perception import FusionPart
from .network import NEW_LAYER
from .tokens import Tokens

NOBODY_SHARE = 0.2  # of a batch
ONE_STREAM = 0.25  # of windows with somebody in both streams lose the picture, and as many the sound
LATE = 0.3  # of windows are of a camera that has just begun
START_SHARE = 0.2  # of a clip's target that is the start's answer
PREFIX_WEIGHT = 10.0  # of the mean squared move of those rows, as a share of their mean square
PULL = 1e-3  # half of it times the squared distance of the weights to the start's
FRAME_MASK, AUDIO_MASK = 1, 5  # places among the tensors
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shown:
    """Which windows are shown as what.

    places  (clips,) windows in which a clip shows its label: those with somebody, or all where nobody is found in the whole clip
    alone   (N, 2) whether somebody is seen in a window, and heard: whether one stream alone still shows it
    empty   (M,) windows in which nobody is found, of the other clips
    lost    indices of clips in which nobody is found
    """

    places: list[Int64]
    alone: npt.NDArray[np.bool_]
    empty: Int64
    lost: list[int]


def shown_of(clips: Tokens, count: int) -> Shown:
    """What the windows of `count` clips can be shown as."""
    found = clips.presence >= LabelsConfig().presence
    windows = [np.flatnonzero(clips.clip == index) for index in range(count)]
    some = [places[found[places].any(axis=1)] for places in windows]
    lost = [index for index in range(count) if not some[index].size]
    places = [few if few.size else whole for few, whole in zip(some, windows, strict=True)]
    return Shown(places, found, np.setdiff1d(np.arange(len(clips.clip)), np.concatenate(places)), lost)


class Lesson:
    """A network that is taught in place, and the start beside it, which answers what it always did.

    part  what is trained
    kept  the labels are the start's, so that its answers are answers here too
    """

    def __init__(
        self, network: EmotionNetwork, start: EmotionNetwork, clips: Tokens, nobody: Tokens, shown: Shown, labels: Int64, chosen: Int64
    ) -> None:
        """labels (clips,); chosen: the clips that are trained on."""
        self.network, self._start, self._clips, self._nobody = network, start, clips, nobody
        self._shown, self._labels, self._chosen = shown, labels, chosen
        self._empty = shown.empty[np.isin(clips.clip[shown.empty], chosen)]
        self.kept = network.preset.labels == start.preset.labels
        network.requires_grad_(False)
        self.part = FusionPart(network).requires_grad_(True)
        before = dict(FusionPart(start).named_parameters())
        held = [(name, value) for name, value in self.part.named_parameters() if self.kept or not name.startswith(NEW_LAYER)]
        self._pulled = [(value, before[name].detach().clone()) for name, value in held]

    def loss(self, rng: np.random.Generator, batch: int) -> Tensor:
        """() of a batch that is drawn: windows of clips and windows of nobody weigh the same, however many there are."""
        nobody = max(1, round(NOBODY_SHARE * batch))
        rows, hard = self._clip_rows(rng, max(1, batch - nobody))
        count = len(hard)
        inputs = [torch.cat(pair) for pair in zip(rows, self._nobody_rows(rng, nobody), strict=True)]
        with torch.no_grad():
            begun = self._start.fuse(*inputs)
        fused = self.network.fuse(*inputs)
        wanted = torch.softmax(begun.logits, 1) if self.kept else torch.full_like(fused.logits, 1 / fused.logits.shape[1])
        learnt = F.cross_entropy(fused.logits[:count], (1 - START_SHARE) * hard + START_SHARE * wanted[:count])
        empty = F.cross_entropy(fused.logits[count:], wanted[count:])
        moved = (fused.prefix - begun.prefix).square().mean() / begun.prefix.square().mean()
        pull = torch.stack([(value - before).square().sum() for value, before in self._pulled]).sum()
        return learnt + empty + PREFIX_WEIGHT * moved + PULL / 2 * pull

    def _clip_rows(self, rng: np.random.Generator, count: int) -> tuple[list[Tensor], Tensor]:
        """Inputs of `fuse` and their labels (B, labels): labels equally often, clips of a label likewise, windows of a clip likewise."""
        clips = self._chosen[balanced(self._labels[self._chosen], rng, count, power=1.0)]
        places = np.array([rng.choice(self._shown.places[clip]) for clip in clips])
        rows = self._clips.rows(places)
        alone = self._shown.alone[places].all(axis=1)
        lose = rng.random(count)
        rows[FRAME_MASK] *= torch.from_numpy(~(alone & (lose < ONE_STREAM)))[:, None]
        rows[AUDIO_MASK] *= torch.from_numpy(~(alone & (lose >= 1 - ONE_STREAM)))[:, None]
        for row in np.flatnonzero(rng.random(count) < LATE):
            late = int(rng.integers(1, rows[FRAME_MASK].shape[1]))
            if rows[FRAME_MASK][row, -1]:  # or nothing might be left to see
                rows[FRAME_MASK][row, :late] = 0.0
        hard = F.one_hot(torch.from_numpy(self._labels[clips]), len(self.network.preset.labels)).float()
        return rows, hard

    def _nobody_rows(self, rng: np.random.Generator, count: int) -> list[Tensor]:
        """From what was drawn, and half of them from the clips' own windows without anybody where there are some."""
        own = rng.random(count) < 0.5 if self._empty.size else np.zeros(count, np.bool_)
        drawn = self._nobody.rows(rng.integers(len(self._nobody.clip), size=count))
        if own.any():
            empty = self._clips.rows(rng.choice(self._empty, count))
            chosen = torch.from_numpy(own)
            drawn = [torch.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), b, a) for a, b in zip(drawn, empty, strict=True)]
        return drawn


def one_stream(rows: list[Tensor], mask: int) -> list[Tensor]:
    """The same windows without the stream of that mask: `fuse` takes what is masked for zeros."""
    return [torch.zeros_like(tensor) if place == mask else tensor for place, tensor in enumerate(rows)]


def logits_of(network: EmotionNetwork, rows: list[Tensor], at_once: int = 64) -> Tensor:
    """(B, labels) of windows, a few at a time."""
    with torch.inference_mode():
        parts = [network.fuse(*(tensor[i : i + at_once] for tensor in rows)).logits for i in range(0, len(rows[0]), at_once)]
    return torch.cat(parts)
