"""OV-MERD+, for evaluation only: 532 clips whose emotions are named in any words (Lian et al., arXiv 2410.01495).

    mer2025-dataset: video/ID.mp4   track2_train_ovmerd.csv or ov_merd+.csv   name,openset      subtitle_chieng.csv   name, english
MMEVerse: OV-MERD+_label.csv with a sentence; its open labels stand in a CSV of their own, name,openset.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder, open_labels
from .registry import Columns, DataSet, Published, Task, register

SPLIT = "test"
FILES = ("ov_merd+.csv", "OV-MERD+_openset.csv", "check-openset.csv", "track2_train_ovmerd.csv")
SUBTITLES = "subtitle_chieng.csv"


def read(folder: Folder) -> Iterator[Clip]:
    said = {row["name"]: row for row in folder.table(SUBTITLES, ("name",))} if (folder.root / SUBTITLES).is_file() else {}
    file = folder.find(*FILES)
    for row in folder.table(file, ("name", "openset")) if file else ():
        name = row["name"]
        labels = open_labels(row["openset"])
        yield Clip(
            id=name,
            set="ov_merd+",
            split=SPLIT,
            media=folder.media(video=folder.choose(f"video/{name}.mp4")),
            provenance=folder.provenance(file, row.number),
            transcript=said[name].first("english", "sentence", "chinese") if name in said else "",
            language="zh",
            labels={"multi-label": labels} if labels else {},
        )


SET = register(
    DataSet(
        name="ov_merd+",
        title="OV-MERD+",
        role="evaluation",
        licence="EULA of the challenge; research only",
        tasks={"multi-label": Task(several=True, open=True)},
        train_splits=(),
        test_splits=(SPLIT,),
        original=read,
        mmeverse=Columns("OV-MERD+", {"multi-label": "openset"}, ("sentence",), fixed_split=SPLIT, beside=FILES),
        language="zh",
        published=(Published(532, SPLIT, source="AffectGPT, arXiv 2501.16566"),),
        layout="give the folder that holds a CSV of name,openset and video/",
    )
)
