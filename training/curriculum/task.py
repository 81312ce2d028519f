"""Lessons for the loop: losses of a batch, and the figures that a stage logs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from .lessons import Lesson
from .student import Losses


def share_of(batch: int, processes: int, micro_batch: int) -> tuple[int, int]:
    """(samples a process takes at once, how often a step). ValueError where the batch cannot be shared out evenly."""
    if batch % processes:
        raise ValueError(f"a batch of {batch} cannot be shared by {processes} processes; give --batch a multiple of {processes}")
    share = batch // processes
    micro = micro_batch or share
    if share % micro:
        raise ValueError(f"--micro-batch {micro} must divide a process's share of {share} samples a step")
    return micro, share // micro


class LessonTask:
    """See `training.loop.Task`.

    parts        (step) → endless lessons of this process from that step on
    batch        samples a step, over all processes
    head_weight  of the label's loss, and of valence's and arousal's, beside the answer's
    """

    def __init__(
        self, parts: Callable[[int], Iterator[Lesson]], batch: int, processes: int, device: torch.device, head_weight: float = 0.5
    ) -> None:
        self.parts = parts
        self._batch, self._share, self._head_weight, self._device = batch, batch // processes, head_weight, device

    def losses(self, model: nn.Module, part: Lesson) -> tuple[Tensor, Tensor]:
        """Its part of the mean over samples of each one's mean over its answer: on 4 GPUs of one sample each that is what the published
        code minimises, and it is the same however a batch is shared out."""
        lesson = part.to(self._device)
        losses: Losses = model(lesson)
        weight = lesson.weight
        each = (losses.answer + self._head_weight * (losses.head + losses.affect)) * weight
        felt = lesson.affect.isfinite().any(dim=1).float()
        told = (losses.answer, losses.head, losses.right, torch.ones_like(weight), losses.labelled, losses.hit, losses.affect, felt)
        sums = torch.stack([*((value.detach() * weight).sum() for value in told), lesson.mask.sum().float()])
        return each.sum() / self._share, sums

    def figures(self, sums: Sequence[float]) -> dict[str, float]:
        """Means over the samples that each is known of."""
        answer, head, right, seen, labelled, hit, affect, felt, tokens = sums
        loss = (answer + self._head_weight * (head + affect)) / self._batch
        figures = {"loss": loss, "answer_loss": answer / self._batch, "token_accuracy": right / max(seen, 1.0)}
        if labelled and head:
            figures |= {"head_loss": head / labelled, "head_accuracy": hit / labelled}
        if felt and affect:
            figures["affect_error"] = math.sqrt(affect / felt)
        if seen < self._batch:
            figures["not_used"] = self._batch - seen
        return {**figures, "tokens": tokens}
