"""CH-SIMS v2(s): 4,403 labelled Mandarin clips, sentiment from -1 to 1 (Liu et al., ICMI 2022), in MMSA's layout (sentiment.py)."""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .registry import Columns
from .sentiment import read_mmsa, sentiment_set


def read(folder: Folder) -> Iterator[Clip]:
    top = "ch-simsv2s/" if (folder.root / "ch-simsv2s").is_dir() else ""
    if top:
        folder.root = folder.root / top
    return read_mmsa(folder, "ch_sims_v2_s", ("meta.csv", "label.csv"), "zh")


SET = sentiment_set(
    "ch_sims_v2_s",
    "CH-SIMS v2(s)",
    read,
    Columns("CH-SIMS_v2_s", {"sentiment": "annotation"}, ("text",), values={"sentiment": "label"}),
    "zh",
    (2722, 647, 1034),
    "give ch-simsv2s, which holds meta.csv and Raw",
)
