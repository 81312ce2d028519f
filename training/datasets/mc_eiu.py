"""MC-EIU: emotions and intents in conversations of television, English and Mandarin (MC-EIU/MC-EIU; packed as the MEIJU challenge).

    [TRACK/]{English,Mandarin}/Annotation/{Training,Validation}/…mkv (or Video/…)
    [TRACK/]{English,Mandarin}/Annotation/{Training,Validation}_files.txt          "dia_0_utt_1.mkv happy agreeing"
    [TRACK/]{English,Mandarin}/Annotation/{Training,Validation}_transcription.csv  name,sentence
MMEVerse marks Mandarin by _ch after the id, and like the challenge leaves out the ninth intent, sympathizing.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .registry import Columns, DataSet, Task, register

EMOTIONS = ("happy", "surprise", "sad", "disgust", "anger", "fear", "neutral")
INTENTS = ("acknowledging", "agreeing", "consoling", "encouraging", "neutral", "questioning", "suggesting", "wishing")
LANGUAGES = {"English": ("en", ""), "Mandarin": ("zh", "_ch")}
SPLITS = {"Training": "train", "Validation": "validation", "Testing": "test"}


def read(folder: Folder) -> Iterator[Clip]:
    places = sorted(path for language in LANGUAGES for path in (*folder.root.glob(language), *folder.root.glob(f"*/{language}")))
    if not places:
        folder.find("English", "Mandarin")
    for path in places:
        language, mark = LANGUAGES[path.name]
        for name, split in SPLITS.items():
            base = f"{path.relative_to(folder.root).as_posix()}/Annotation"
            lists = [f"{base}/{name}{end}" for end in ("_files.txt", "/files.txt", "_label.txt")]
            file = next((entry for entry in lists if (folder.root / entry).is_file()), "")
            if not file:
                if split != "test":  # the challenge keeps its test labels
                    folder.find(*lists)
                continue
            said = _transcripts(folder, f"{base}/{name}_transcription.csv")
            yield from _listed(folder, file, f"{base}/{name}", split, language, mark, said)


def _transcripts(folder: Folder, file: str) -> dict[str, str]:
    if not folder.find(file):
        return {}
    return {row["name"]: row["sentence"] for row in folder.table(file, ("name", "sentence"))}


def _listed(folder: Folder, file: str, place: str, split: str, language: str, mark: str, said: dict[str, str]) -> Iterator[Clip]:
    for number, line in folder.text_lines(file):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != 3:
            folder.problems.add("broken row", file, number, detail=f"expected file, emotion and intent, got {line!r:.60}")
            continue
        name, emotion, intent = cells
        stem = name.rpartition(".")[0] or name
        if intent == "sympathizing":
            folder.problems.leave_out("with the intent sympathizing, which MMEVerse leaves out")
            continue
        yield Clip(
            id=stem if stem.endswith(mark) else stem + mark,
            set="mc_eiu",
            split=split,
            media=folder.media(
                video=folder.choose(*(f"{place}{inner}/{stem}{end}" for inner in ("", "/Video") for end in (".mkv", ".mp4")))
            ),
            provenance=folder.provenance(file, number),
            transcript=said.get(name) or said.get(stem, ""),
            language=language,
            labels={"emotion": (emotion,), "intent": (intent,)},
        )


SET = register(
    DataSet(
        name="mc_eiu",
        title="MC-EIU",
        role="train",
        licence="CC BY-NC 4.0, gated",
        tasks={
            "emotion": Task(EMOTIONS, aliases={"angry": "anger", "happiness": "happy", "sadness": "sad"}),
            "intent": Task(INTENTS),
        },
        train_splits=("train",),
        test_splits=("test",),
        original=read,
        mmeverse=Columns("MC-EIU", {"emotion": "emotion", "intent": "intent"}, ("Subtitle",), suffix=".mkv"),
        layout="give the folder that holds English and Mandarin, or the challenge's tracks",
    )
)
