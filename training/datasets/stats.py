"""How many clips an index holds, by set, split and label, beside what was published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ..records import Clip
from .registry import DataSet, find_set


@dataclass(frozen=True)
class Line:
    """One count. `label` is "" for all of a split; `published` is None where nobody published it."""

    set: str
    split: str
    task: str
    label: str
    clips: int
    published: int | None = None
    source: str = ""


def count(name: str, clips: Iterable[Clip]) -> list[Line]:
    """Lines of one set: each split, then its labels. A label of several counts once for each clip that has it."""
    dataset = find_set(name)
    splits: Counter[str] = Counter()
    labels: Counter[tuple[str, str, str]] = Counter()
    for clip in clips:
        splits[clip.split] += 1
        for task, words in clip.labels.items():
            labels.update((clip.split, task, word) for word in words)
    lines = []
    for split in _ordered(dataset, splits):
        lines.append(_line(dataset, split, "", "", splits[split]))
        for task in dataset.tasks:
            found = {label: amount for (where, what, label), amount in labels.items() if (where, what) == (split, task)}
            order = [label for label in dataset.tasks[task].labels if label in found] or sorted(
                found, key=lambda word: (-found[word], word)
            )
            lines += [_line(dataset, split, task, label, found[label]) for label in order]
    every = [_line(dataset, "", entry.task, entry.label, 0) for entry in dataset.published if not entry.split]
    totals: Counter[tuple[str, str]] = Counter()
    for (_, task, label), amount in labels.items():
        totals[task, label] += amount
    return lines + [Line(**{**asdict(e), "clips": totals[e.task, e.label] if e.label else sum(splits.values())}) for e in every]


def _ordered(dataset: DataSet, splits: Counter[str]) -> list[str]:
    known = dict.fromkeys((*dataset.train_splits, *dataset.test_splits))
    return [split for split in known if split in splits] + sorted(split for split in splits if split not in known)


def _line(dataset: DataSet, split: str, task: str, label: str, clips: int) -> Line:
    for entry in dataset.published:
        if (entry.split, entry.task, entry.label) == (split, task, label):
            return Line(dataset.name, split, task, label, clips, entry.count, entry.source)
    return Line(dataset.name, split, task, label, clips)


def text(lines: Iterable[Line]) -> str:
    """A table for a terminal; what differs from the published count is marked."""
    rows = [f"{'':36}{'here':>9}{'published':>12}"]
    last = ""
    for line in lines:
        if line.set != last:
            last = line.set
            rows.append(f"{find_set(line.set).title} ({line.set})")
        name = (
            f"  {line.split or 'all splits'}" if not line.label else f"    {'' if line.split else 'all splits, '}{line.task} {line.label}"
        )
        told = f"{line.published:>12}" if line.published is not None else f"{'':12}"
        differs = "" if line.published in (None, line.clips) else f"  {line.clips - line.published:+d}"
        rows.append(f"{name:36}{line.clips:>9}{told}{differs}{f'  {line.source}' if line.source else ''}".rstrip())
    return "\n".join(rows)
