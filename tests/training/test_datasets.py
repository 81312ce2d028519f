"""Every set is read in its publisher's layout and in MMEVerse's; what is wrong is named with file and row, counted, and never an end.

Trees are made up by training/fabricate.py with real media files; MELD's own label files are read where they are at hand.
"""

from __future__ import annotations

import csv
import json
import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydantic")
pytest.importorskip("soundfile")
pytest.importorskip("openpyxl")

from tests.conftest import REPOSITORY
from training import fabricate as fabrication
from training.__main__ import main
from training.datasets import SetProblems, StrictError, all_sets, find_set, sets_of
from training.datasets import index as clip_index
from training.datasets.read import read_set
from training.datasets.registry import find_root
from training.datasets.stats import count, text
from training.fabricate import Studio, fabricate, fakes, write_csv
from training.records import Clip, from_json, read_records, schema, to_json

SETS = tuple(all_sets())
IN_MMEVERSE = tuple(name for name in SETS if find_set(name).mmeverse)
MELD_ROWS = {"train": 9989, "dev": 1109, "test": 2610}


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which sets are made up; media are shared."""
    return tmp_path_factory.mktemp("trees")


def read(name: str, folder: Path, **options: object) -> tuple[list[Clip], SetProblems]:
    problems = SetProblems()
    return list(read_set(find_set(name), folder, problems, **options)), problems  # type: ignore[arg-type]


def test_there_are_twelve_sets_to_train_on_three_to_evaluate_and_eight_general_ones() -> None:
    assert len(sets_of(["train"])) == 12 and sets_of(["evaluation"]) == ["mer2024_semi", "ov_merd+", "sims"]
    general = {"coco_caption", "refcoco", "refcocop", "refcocog", "coco_vqa", "ok_vqa", "aok_vqa", "gqa"}
    assert set(sets_of(["general"])) == general
    with pytest.raises(KeyError, match="did you mean meld"):
        find_set("melt")


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_read_in_its_publishers_layout(name: str, trees: Path) -> None:
    """Every clip that was written, once, with its labels; no problem; and it says that it is made up."""
    dataset = find_set(name)
    clips, problems = read(name, fabricate(name, trees / "original"), layout="original")
    assert problems.all == [] and clips
    first = next(iter(dataset.tasks), "")
    if first and not dataset.tasks[first].several and name not in ("meld", "mer2023"):  # those two have splits that nobody fakes
        assert Counter(clip.label(first) for clip in clips) == Counter(fake.first for fake in fakes(dataset))
    for clip in clips:
        assert clip.set == name and clip.provenance.source == "fabricated"
        assert dataset.role == "general" or (clip.media.seconds == pytest.approx(1.0, abs=0.2) and clip.media.has_audio)
        assert from_json(Clip, to_json(clip)) == clip


@pytest.mark.parametrize("name", IN_MMEVERSE)
def test_a_set_is_read_in_mmeverses_layout(name: str, trees: Path) -> None:
    """Labels, splits and transcript of every clip, what agents wrote of it, and its peak frame."""
    dataset = find_set(name)
    clips, problems = read(name, fabricate(name, trees / "mmeverse", "mmeverse"))
    made = fakes(dataset)
    assert problems.all == [] and len(clips) == len(made)
    for clip, fake in zip(clips, made, strict=True):
        assert (clip.split, clip.transcript, clip.labels) == (fake.split, fake.transcript, dict(fake.labels))
        assert clip.media.peak_frame == 4 and clip.media.audio and clip.media.frames == 8
        assert {"response_AudioReasoner", "response_Qwen2Audio", "response_Qwen25vl_72B", "gpt-4o-mini_Emotion"} <= set(clip.texts)


def test_melds_own_files_have_their_rows_and_its_broken_clips_are_named() -> None:
    folder = Path(os.environ.get("DATA", REPOSITORY / "../shared/data")).resolve() / "labels" / "meld"
    if not folder.is_dir():
        pytest.skip(f"no label files of MELD in {folder}; set DATA")
    clips, problems = read("meld", folder, look="none")
    assert dict(problems.rows) == MELD_ROWS
    assert {problem.id for problem in problems.all} == {"train_dia125_utt3", "test_dia279_utt15", "dev_dia110_utt7"}
    assert problems.counts == {"known broken": 3} and len(clips) == sum(MELD_ROWS.values()) - 3
    assert [(p.file, p.row) for p in problems.all if p.id == "test_dia279_utt15"] == [("test_sent_emo.csv", 2611)]
    strict = SetProblems(strict=True)
    assert len(list(read_set(find_set("meld"), folder, strict, look="none"))) == len(clips), "nobody can mend what the publisher broke"
    assert clips[0].transcript.startswith("also I was the point person on my company’s transition")
    lines = {(line.split, line.label): line for line in count("meld", clips) if line.task in ("", "emotion")}
    assert lines["test", "joy"].clips == lines["test", "joy"].published == 402
    assert (lines["test", ""].clips, lines["test", ""].published) == (2609, 2610)
    assert "-1" in text(count("meld", clips)) and "gt_meld_emotion_test" in text(count("meld", clips))


def test_iemocaps_speaker_is_on_the_side_of_his_sex_and_his_turn_has_its_times(trees: Path) -> None:
    clips, problems = read("iemocap", fabricate("iemocap", trees / "original"))
    sides = {clip.id[-4]: clip.media.side for clip in clips}
    assert sides == {"F": "left", "M": "right"}, "all dialogues are Ses0xF: the woman wears the markers"
    first = clips[0]
    assert (first.media.start_seconds, first.media.end_seconds, first.split) == (0.0, 1.0, "Session1")
    assert first.media.video.endswith("DivX/Ses01F_impro01.avi") and first.media.audio.endswith(f"{first.id}.wav")
    assert first.values == {"valence": 2.5, "activation": 2.5, "dominance": 3.0}
    assert problems.left_out == {"without agreement": 5}, "xxx is no problem, and no clip"


def test_numbers_codes_and_names_become_the_ids_and_labels_of_mmeverse(trees: Path) -> None:
    def of(name: str) -> list[Clip]:
        return read(name, fabricate(name, trees / "original"))[0]

    assert of("dfew")[0].id == "00001" and {clip.label("emotion") for clip in of("dfew")} == set(find_set("dfew").tasks["emotion"].labels)
    assert of("caer")[0].id == "train_Anger_0002" and of("caer")[0].label("emotion") == "anger"
    assert {clip.id[-3:] == "_ch" for clip in of("mc_eiu")} == {True, False}
    assert {clip.language for clip in of("mc_eiu") if clip.id.endswith("_ch")} == {"zh"}
    assert of("mafw")[0].labels == {"emotion": ("anger",), "multi-label": ("anger", "anxiety")}
    assert of("mafw")[0].text("description") == "A coloured square."
    bold = of("bold")[0]
    assert bold.id == "fab1_0001_1" and bold.media.box == (10.0, 5.0, 30.0, 50.0) and bold.values["arousal"] == 6.0
    assert of("e3")[0].transcript == "No there why", "numbers and times of subtitles are not spoken"
    assert of("cmu_mosi")[1].values["sentiment"] == -0.8 and of("cmu_mosi")[1].label("sentiment") == "Negative"
    assert of("ov_merd+")[0].labels["multi-label"] == ("happy", "sad", "restless")
    assert {clip.split for clip in of("sims")} == {"test"} and of("sims")[0].id == "video_0001_0001"
    assert of("refcoco")[0].text("answers") == "{<25><12><75><87>}", "hundredths of a picture of 64 × 64, cut off"
    assert of("coco_vqa")[0].texts["answers"].count("tone 0") == 7 and of("gqa")[0].texts["answers"] == ("tone 0",)


def test_moseis_whole_videos_are_cut_by_the_transcripts_times(tmp_path: Path) -> None:
    folder = fabricate("cmu_mosei", tmp_path)
    Studio(tmp_path).video(folder / "Videos/Full/Combined/fab1.mp4", 0)
    transcript = folder / "Transcript/Segmented/Combined/fab1.txt"
    transcript.parent.mkdir(parents=True)
    transcript.write_text("fab1___1___0.25___0.75___Yes\nfab1___x\n", encoding="utf-8")
    clips, problems = read("cmu_mosei", folder)
    media = clips[0].media
    assert (media.video, media.start_seconds, media.end_seconds, media.seconds) == ("Videos/Full/Combined/fab1.mp4", 0.25, 0.75, 0.5)
    assert next((p.kind, p.file, p.row) for p in problems.all) == ("broken row", "Transcript/Segmented/Combined/fab1.txt", 2)


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    folder = fabricate("refcoco", tmp_path)
    (folder / "refs(unc).p").write_bytes(pickle.dumps([Trap()]))
    clips, problems = read("refcoco", folder)
    assert clips == [] and problems.counts == {"broken row": 1} and "which is code" in problems.all[0].detail
    assert not (tmp_path / "sprung").exists()


# What may be wrong with a set. Each spoils a row of a good MELD; two clips of train stay good.
ROWS = 4


@pytest.fixture
def meld(tmp_path: Path, trees: Path) -> Path:
    """A small MELD whose train split has ROWS rows; dev and test one each."""
    folder = tmp_path / "meld"
    folder.mkdir()
    studio = Studio(trees / "original")
    for split, rows in (("train", ROWS), ("dev", 1), ("test", 1)):
        table = [
            {"Utterance": f"Line {row}", "Speaker": "Ann", "Emotion": "joy", "Sentiment": "positive", "Dialogue_ID": row, "Utterance_ID": 0}
            for row in range(rows)
        ]
        write_csv(folder / f"{split}_sent_emo.csv", table)
        for row in range(rows):
            studio.video(folder / split / f"dia{row}_utt0.mp4", 1)
    return folder


def change(folder: Path, row: int, **fields: str) -> None:
    """Change fields of a row of train; rows count from 2, as in a spreadsheet."""
    path = folder / "train_sent_emo.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    rows[row - 2].update(fields)
    write_csv(path, rows)


def unlink_and_write(path: Path, content: bytes) -> None:
    """The made-up media are linked: what is spoilt must be a file of its own."""
    path.unlink()
    path.write_bytes(content)


def spoil_bytes(folder: Path) -> None:
    path = folder / "train_sent_emo.csv"
    path.write_bytes(path.read_bytes().replace(b"Line 1", b"Line \x93one\x94"))


def short_row(folder: Path) -> None:
    path = folder / "train_sent_emo.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("Line 1,Ann,joy", "Line 1,Ann"), encoding="utf-8")


def silent(folder: Path) -> None:
    place = folder / "train/dia1_utt0.mp4"
    place.unlink()
    Studio(folder).video(place, 1, sound=False)


def cut_off(folder: Path) -> None:
    place = folder / "train/dia1_utt0.mp4"
    unlink_and_write(place, place.read_bytes()[:200])


SPOILERS = {
    "missing media": lambda folder: (folder / "train/dia1_utt0.mp4").unlink(),
    "zero-length clip": lambda folder: unlink_and_write(folder / "train/dia1_utt0.mp4", b""),
    "unreadable media": cut_off,
    "no sound": silent,
    "duplicate id": lambda folder: change(folder, 3, Dialogue_ID="0"),
    "not text": spoil_bytes,
    "broken row": short_row,
    "no label": lambda folder: change(folder, 3, Emotion="NaN", Sentiment=" "),
    "label outside the set": lambda folder: change(folder, 3, Emotion="boredom", Sentiment="mixed"),
    "empty transcript": lambda folder: change(folder, 3, Utterance="  "),
}


@pytest.mark.parametrize("kind", SPOILERS)
def test_what_is_wrong_is_named_with_file_and_row_counted_and_the_rest_is_read(kind: str, meld: Path) -> None:
    SPOILERS[kind](meld)
    clips, problems = read("meld", meld)
    assert problems.counts[kind] >= 1 and set(problems.counts) == {kind}
    problem = problems.all[0]
    assert (problem.file, problem.row) == ("train_sent_emo.csv", 3)
    kept = kind in ("no sound", "empty transcript")
    train = [clip.id for clip in clips if clip.split == "train"]
    assert train == [f"train_dia{row}_utt0" for row in range(ROWS) if kept or row != 1]
    if kind == "no sound":
        assert [clip.media.has_audio for clip in clips if clip.split == "train"] == [True, False, True, True]
    with pytest.raises(StrictError, match=rf"train_sent_emo.csv, row 3: {kind}.*--allow '{kind}'"):
        list(read_set(find_set("meld"), meld, SetProblems(strict=True)))
    accepted = SetProblems(strict=True, allowed=frozenset((kind,)))
    assert len(list(read_set(find_set("meld"), meld, accepted))) == len(clips)


def test_one_bad_label_of_two_costs_that_label_and_not_the_clip(meld: Path) -> None:
    change(meld, 3, Emotion="boredom")
    clips, problems = read("meld", meld)
    assert problems.counts == {"label outside the set": 1} and "emotion 'boredom'" in problems.all[0].detail
    assert next(clip for clip in clips if clip.id == "train_dia1_utt0").labels == {"sentiment": ("positive",)}


def test_wrong_columns_and_a_missing_table_are_told_and_other_splits_are_read(meld: Path) -> None:
    path = meld / "train_sent_emo.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("Emotion", "Feeling"), encoding="utf-8")
    (meld / "dev_sent_emo.csv").unlink()
    clips, problems = read("meld", meld)
    assert [clip.split for clip in clips] == ["test"]
    assert [(p.kind, p.file, p.row) for p in problems.all] == [
        ("wrong columns", "train_sent_emo.csv", 1),
        ("missing file", "dev_sent_emo.csv", 0),
    ]
    assert "needs Emotion; it has Utterance, Speaker, Feeling" in problems.all[0].detail


def test_another_encoding_can_be_named(meld: Path) -> None:
    change(meld, 3, Utterance="你在看什么")
    path = meld / "train_sent_emo.csv"
    path.write_bytes(path.read_text(encoding="utf-8").encode("gb18030"))
    clips, problems = read("meld", meld, encoding="gb18030")
    assert problems.all == [] and clips[1].transcript == "你在看什么"


def test_a_null_byte_and_an_open_quote_do_not_stop_the_reading(meld: Path) -> None:
    path = meld / "train_sent_emo.csv"
    path.write_bytes(path.read_bytes().replace(b"Line 1", b"Li\x00ne") + b'"never closed,Ann')
    clips, problems = read("meld", meld)
    assert len([clip for clip in clips if clip.split == "train"]) == ROWS - 1
    assert problems.counts == {"not text": 1, "broken row": 1}


def test_silence_is_found_when_everything_is_decoded(meld: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fabrication, "_wave", lambda tone: np.zeros(16000))
    place = meld / "train/dia1_utt0.mp4"
    place.unlink()
    Studio(meld).video(place, 1)
    assert read("meld", meld)[1].all == [], "headers do not tell"
    clips, problems = read("meld", meld, look="decode")
    assert problems.counts == {"no sound": 1} and problems.all[0].id == "train_dia1_utt0"
    assert [clip.media.has_audio for clip in clips if clip.split == "train"] == [True, False, True, True] and clips[0].media.frames == 8


def test_a_known_broken_clip_that_is_whole_is_used(meld: Path, trees: Path) -> None:
    change(meld, 3, Dialogue_ID="125", Utterance_ID="3")
    _, problems = read("meld", meld)
    assert problems.counts == {"known broken": 1} and problems.all[0].detail == "the published file is cut off"
    Studio(trees / "original").video(meld / "train/dia125_utt3.mp4", 1)
    clips, problems = read("meld", meld)
    assert problems.all == [] and "train_dia125_utt3" in {clip.id for clip in clips}


def test_peaks_that_are_none_cost_the_peak_alone(tmp_path: Path) -> None:
    folder = fabricate("caer", tmp_path, "mmeverse")
    path = folder / "CAER_peak.json"
    peaks = json.loads(path.read_text(encoding="utf-8"))
    first = next(iter(peaks))
    path.write_text(json.dumps({**peaks, first: {"peak_index": "four"}}), encoding="utf-8")
    clips, problems = read("caer", folder)
    assert problems.counts == {"unreadable peaks": 1} and [clip.media.peak_frame for clip in clips].count(None) == 1
    path.write_text("[]", encoding="utf-8")
    clips, problems = read("caer", folder)
    assert len(clips) == len(peaks) and problems.all[0].file == "CAER_peak.json"


def test_a_folder_that_is_not_the_sets_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train_sent_emo\.csv"):
        read("meld", tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no clip of MELD that can be used.*missing file"):
        clip_index.build("meld", tmp_path, tmp_path / "index")
    with pytest.raises(FileNotFoundError, match="--datasets meld=DIR"):
        find_root(tmp_path, find_set("meld"))


def test_the_index_reads_a_set_once_and_again_when_asked_otherwise(meld: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "index"
    entry, stood = clip_index.build("meld", meld, output)
    assert not stood and entry.clips == {"train": ROWS, "dev": 1, "test": 1}
    with monkeypatch.context() as patch:
        patch.setattr(clip_index, "read_set", lambda *_: pytest.fail("read again"))
        assert clip_index.build("meld", meld, output) == (entry, True)
    assert not clip_index.build("meld", meld, output, clip_index.Options(look="exists"))[1]
    (output / "meld.jsonl").write_text("{}\n", encoding="utf-8")
    assert not clip_index.build("meld", meld, output, clip_index.Options(look="exists"))[1], "a file that was changed does not stand"
    assert clip_index.load(output)["meld"][0].id == "train_dia0_utt0"
    with pytest.raises(KeyError, match="it has meld"):
        clip_index.load(output, ["dfew"])


def test_a_reading_that_was_stopped_leaves_no_half_an_index(meld: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: object) -> object:
        yield next(iter(read_set(*arguments)))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(clip_index, "read_set", stopped)
    with pytest.raises(KeyboardInterrupt):
        clip_index.build("meld", meld, tmp_path / "index")
    assert clip_index.entries(tmp_path / "index") == {} and not (tmp_path / "index" / "meld.jsonl").exists()


def test_a_record_that_breaks_its_schema_is_named_with_file_and_row(tmp_path: Path) -> None:
    good = {"id": "a", "set": "meld", "split": "x", "media": {}, "provenance": {"source": "own", "file": "f"}}
    path = tmp_path / "clips.jsonl"
    for bad, told in (
        ({"id": 1}, "id"),
        ({"values": {"v": "much"}}, "values.v"),
        ({"mood": "good"}, "mood"),
        ({"media": {"side": "top"}}, "side"),
    ):
        path.write_text(json.dumps(good) + "\n" + json.dumps({**good, **bad}) + "\n", encoding="utf-8")
        with pytest.raises(ValueError, match=rf"clips.jsonl, row 2: not a Clip: .*{told}"):
            list(read_records(path, Clip))
    assert {"id", "media", "labels"} <= set(schema(Clip)["properties"])


def test_index_stats_and_show_are_commands(trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("meld", "mafw"):
        fabricate(name, trees / "mmeverse", "mmeverse")
    output = ["--output", str(tmp_path / "index")]
    assert main(["index", "--datasets", "meld", "mafw", "--root", str(trees / "mmeverse"), *output]) == 0
    index = ["--index", str(tmp_path / "index")]
    assert main(["stats", *index, "--json", str(tmp_path / "stats.json")]) == 0
    assert main(["show", *index, "--stage", "stage2", "--count", "3"]) == 0
    assert main(["show", *index, "--stage", "mafw_multi", "--count", "1"]) == 0
    told = capsys.readouterr().out
    assert "MELD: read, 14 clips of 14 rows; no problems" in told and "(fabricated)" in told and "[INST] <Vid>▮</Vid>" in told
    assert main(["instruct", *index, "--output", str(tmp_path / "samples.jsonl"), "--count", "7"]) == 0
    assert len((tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()) == 7
    assert main(["index", "--datasets", "meld", *output]) == 2
    assert "--datasets meld=DIR" in capsys.readouterr().err


def test_sets_says_of_each_its_licence_and_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sets"]) == 0
    told = capsys.readouterr().out
    assert all(f"{name}  {find_set(name).title}  (" in told and find_set(name).layout and find_set(name).licence for name in SETS)


def test_a_made_up_mmeverse_holds_every_set_and_can_be_made_twice(tmp_path: Path) -> None:
    folders = fabrication.fabricate_mmeverse(tmp_path)
    again = fabrication.fabricate_mmeverse(tmp_path)
    assert folders == again and set(folders) == set(SETS)
    assert len(read("mer2023", folders["mer2023"])[0]) == 12, "MER2024-SEMI's rows stand in the same table and are not its"
