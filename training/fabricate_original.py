"""Each data set as its publisher packs it, made up (fabricate.py). One writer a set; the layouts are those its reader documents."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from .datasets.bold import CATEGORIES
from .datasets.iemocap import CODES
from .fabricate import SECONDS, SIDE, Fake, Studio, write_csv

Writer = Callable[[Path, list[Fake], Studio], None]
MELD_DATE = {"Season": 1, "Episode": 1, "StartTime": "00:00:01,000", "EndTime": "00:00:02,000"}


def _write_meld(folder: Path, fakes: list[Fake], studio: Studio) -> None:
    for split in ("train", "dev", "test"):
        chosen = [fake for fake in fakes if fake.split == ("train" if split == "dev" else split)]
        rows = []
        for fake in chosen:
            rows.append(
                {
                    "Sr No.": fake.number,
                    "Utterance": fake.transcript,
                    "Speaker": "Nobody",
                    "Emotion": fake.labels["emotion"][0],
                    "Sentiment": fake.labels["sentiment"][0],
                    "Dialogue_ID": fake.number,
                    "Utterance_ID": 0,
                    **MELD_DATE,
                }
            )
            studio.video(folder / split / f"dia{fake.number}_utt0.mp4", fake.tone)
        write_csv(folder / f"{split}_sent_emo.csv", rows)


def _write_iemocap(folder: Path, fakes: list[Fake], studio: Studio) -> None:
    codes = {label: code for code, label in CODES.items()}
    for session in sorted({fake.split for fake in fakes}):
        dialog = f"Ses0{session[-1]}F_impro01"
        base = folder / session
        ratings = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
        said = []
        for turn, fake in enumerate(fake for fake in fakes if fake.split == session):
            name = f"{dialog}_{'FM'[turn % 2]}{turn:03d}"
            code = codes[fake.labels["emotion"][0]]
            ratings += [f"[0.0000 - {SECONDS:.4f}]\t{name}\t{code}\t[2.5000, 2.5000, 3.0000]", "C-E1:\tNeutral;\t()", ""]
            said.append(f"{name} [000.0000-{SECONDS:08.4f}]: {fake.transcript}")
            studio.audio(base / "sentences" / "wav" / dialog / f"{name}.wav", fake.tone)
        ratings.append(f"[0.0000 - 1.0000]\t{dialog}_F999\txxx\t[2.5000, 2.5000, 2.5000]")
        _write_lines(base / "dialog" / "EmoEvaluation" / f"{dialog}.txt", ratings)
        _write_lines(base / "dialog" / "transcriptions" / f"{dialog}.txt", said)
        studio.video(base / "dialog" / "avi" / "DivX" / f"{dialog}.avi", 0)


def _write_dfew(folder: Path, fakes: list[Fake], studio: Studio) -> None:
    codes = {"happy": 1, "sad": 2, "neutral": 3, "anger": 4, "surprise": 5, "disgust": 6, "fear": 7}
    for split in ("train", "test"):
        chosen = [fake for fake in fakes if fake.split == split]
        rows = [{"video_name": fake.number, "label": codes[fake.labels["emotion"][0]]} for fake in chosen]
        write_csv(folder / "EmoLabel_DataSplit" / f"{split}(single-labeled)" / "set_1.csv", rows)
        for fake in chosen:
            studio.video(folder / "Clip" / "original" / f"{fake.number}.mp4", fake.tone)


def _write_mafw(folder: Path, fakes: list[Fake], studio: Studio) -> None:
    told = []
    for split in ("train", "test"):
        chosen = [fake for fake in fakes if fake.split == split]
        for kind, task in (("single", "emotion"), ("compound", "multi-label")):
            lines = [f"{fake.number:05d}.mp4 {'_'.join(fake.labels[task])}" for fake in chosen]
            _write_lines(folder / "Train & Test Set" / kind / "no_caption" / "set_1" / f"{split}.txt", lines)
        for fake in chosen:
            studio.video(folder / "data" / "clips" / f"{fake.number:05d}.mp4", fake.tone)
            told.append(f"{fake.number:05d}.mp4\t{fake.first}\t<br>彩色\t<br>A coloured square.")
    _write_lines(folder / "labels" / "single_label.txt", told)


def _write_caer(folder: Path, fakes: list[Fake], studio: Studio) -> None:
    for fake in fakes:
        studio.video(folder / "CAER" / fake.split / fake.first.capitalize() / f"{fake.number:04d}.avi", fake.tone)
    (folder / "CAER" / "validation").mkdir(exist_ok=True)


def _write_bold(folder: Path, fakes: list[Fake], studio: Studio) -> None:
    base = folder / "BOLD_public"
    for split in ("train", "val"):
        rows = []
        for fake in (fake for fake in fakes if fake.split == split):
            video = f"003/fab{fake.number}.mp4/0001.mp4"
            scores = {name: 0.8 if name in fake.labels["multi-label"] else 0.1 for name in CATEGORIES}
            rest = {"v": 5, "a": 6, "d": 4, "gender": "NA", "age": "NA", "ethnicity": "NA", "confidence": 0.9}
            rows.append({"video": video, "person": 1, "first": 0, "last": 7, **scores, **rest})
            studio.video(base / "videos" / video, fake.tone)
            _write_joints(base / "joints" / video.replace("/0001.mp4", "/0001.npy"))
        write_csv(base / "annotations" / f"{split}.csv", rows, header=False)


def _write_joints(path: Path) -> None:
    joints = np.zeros((8, 2 + 18 * 3))
    joints[:, 0], joints[:, 1] = np.arange(8), 1
    joints[:, 2::3], joints[:, 3::3], joints[:, 4::3] = np.linspace(10, 40, 18), np.linspace(5, 55, 18), 0.9
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, joints)


def _write_e3(folder: Path, fakes: list[Fake], studio: Studio) -> None:
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    sheet.append(["Vid", "sub_id", "overall emotion"])
    for fake in fakes:
        vid = f"fab{fake.number}"
        sheet.append([vid, 1, fake.labels["emotion"][0]])
        studio.video(folder / "E3" / vid / "1.mp4", fake.tone)
        _write_lines(folder / "subtex" / vid / "1.srt", ["1", "00:00:00,000 --> 00:00:01,000", fake.transcript])
    (folder / "annotation").mkdir(parents=True, exist_ok=True)
    book.save(folder / "annotation" / "data1.xlsx")


def _write_mc_eiu(folder: Path, fakes: list[Fake], studio: Studio) -> None:
    for language in ("English", "Mandarin"):
        base = folder / language / "Annotation"
        for name, split in (("Training", "train"), ("Validation", "test")):
            chosen = [fake for fake in fakes if fake.split == split and (fake.number % 2 == 1) == (language == "Mandarin")]
            stems = [f"dia_{fake.number}_utt_0" for fake in chosen]
            lines = [f"{stem}.mkv {fake.labels['emotion'][0]} {fake.labels['intent'][0]}" for stem, fake in zip(stems, chosen, strict=True)]
            _write_lines(base / f"{name}_files.txt", lines)
            said = [{"name": stem, "sentence": fake.transcript} for stem, fake in zip(stems, chosen, strict=True)]
            write_csv(base / f"{name}_transcription.csv", said)
            for stem, fake in zip(stems, chosen, strict=True):
                studio.video(base / name / f"{stem}.mkv", fake.tone)


def _write_mer2023(folder: Path, fakes: list[Fake], studio: Studio) -> None:
    said = []
    for split in ("train", "test1", "test2", "test3"):
        chosen = [fake for fake in fakes if fake.split == (split if split == "train" else "test1")]
        rows: list[dict[str, object]] = []
        for fake in chosen:
            name = f"sample_{fake.number:08d}" if split in ("train", "test1") else f"samplenew_{split[-1]}{fake.number:07d}"
            rows.append({"name": name, "discrete": fake.first, **({"valence": 0.5} if split != "test3" else {})})
            said.append({"name": name, "chinese": "看那里", "english": fake.transcript})
            studio.video(folder / split / f"{name}.mp4", fake.tone)
        write_csv(folder / f"{split}-label.csv", rows)
    write_csv(folder / "transcription-engchi-polish.csv", said)


def _write_mer2024_semi(folder: Path, fakes: list[Fake], studio: Studio) -> None:
    names = {fake.number: f"samplenew3_{fake.number:08d}" for fake in fakes}
    write_csv(folder / "test-label.csv", [{"name": names[fake.number], "discrete": fake.first} for fake in fakes])
    write_csv(
        folder / "transcription-engchi-polish.csv", [{"name": names[f.number], "english": f.transcript, "chinese": "为什么"} for f in fakes]
    )
    for fake in fakes:
        studio.video(folder / "video-unlabeled-with-test2noise" / f"{names[fake.number]}.mp4", fake.tone)


def _write_ov_merd(folder: Path, fakes: list[Fake], studio: Studio) -> None:
    rows = [{"name": f"fab{fake.number}", "openset": f"[{', '.join(fake.labels['multi-label'])}, restless]"} for fake in fakes]
    write_csv(folder / "ov_merd+.csv", rows)
    write_csv(folder / "subtitle_chieng.csv", [{"name": f"fab{f.number}", "chinese": "不", "english": f.transcript} for f in fakes])
    for fake in fakes:
        studio.video(folder / "video" / f"fab{fake.number}.mp4", fake.tone)


def _write_mmsa(table: str, folder: Path, fakes: list[Fake], studio: Studio) -> None:
    scores = {"Positive": 1.2, "Negative": -0.8, "Neutral": 0.0}
    rows = []
    for fake in fakes:
        score = scores[fake.first]
        named = {"video_id": f"fab{fake.number}", "clip_id": 1, "text": fake.transcript, "label": score}
        rows.append({**named, "label_T": score, "label_A": score, "label_V": score, "annotation": fake.first, "mode": fake.split})
        studio.video(folder / "Raw" / f"fab{fake.number}" / "1.mp4", fake.tone)
    write_csv(folder / table, rows)


def _write_ch_sims(folder: Path, fakes: list[Fake], studio: Studio) -> None:
    scores = {"Positive": 0.6, "Negative": -0.4, "Neutral": 0.0}
    names = [{"video_id": "video_0001", "clip_id": f"{fake.number:04d}"} for fake in fakes]
    labels = [{**name, "label": scores[fake.first]} for name, fake in zip(names, fakes, strict=True)]
    write_csv(folder / "metadata" / "sentiment" / "label_M.csv", labels)
    said = [{**name, "Chinese": "再来", "English": fake.transcript} for name, fake in zip(names, fakes, strict=True)]
    write_csv(folder / "metadata" / "Translation.csv", said)
    for split in ("train", "val", "test"):
        rows = [{"index": index} for index, fake in enumerate(fakes) if fake.split == split]
        write_csv(folder / "metadata" / f"{split}_index.csv", rows or [{"index": ""}])
    for fake in fakes:
        studio.video(folder / "Raw" / "video_0001" / f"{fake.number:04d}.mp4", fake.tone)


def _write_questions(file: str, key: str, folder: Path, fakes: list[Fake], studio: Studio) -> None:
    entries = []
    for fake in fakes:
        name = f"train2014/COCO_train2014_{fake.number:012d}.jpg"
        studio.image(folder / name, fake.tone)
        answers: object = [f"tone {fake.tone}"] * 7 + ["nothing"] * 3
        question = {"question": "Which tone is it?", "question_id": fake.number}
        entries.append({"image": name, **question, key: answers if key != "answer" or "gqa" not in folder.name else f"tone {fake.tone}"})
    _write_lines(folder / file, [json.dumps(entries)])


def _write_coco_caption(folder: Path, fakes: list[Fake], studio: Studio) -> None:
    entries = []
    for fake in fakes:
        name = f"train2014/COCO_train2014_{fake.number:012d}.jpg"
        studio.image(folder / name, fake.tone)
        entries.append({"image": name, "image_id": f"coco_{fake.number}", "caption": f"A square in the colour of tone {fake.tone}."})
    _write_lines(folder / "coco_karpathy_train.json", [json.dumps(entries)])


def _write_refcoco(by: str, folder: Path, fakes: list[Fake], studio: Studio) -> None:
    refs, images, annotations = [], [], []
    for fake in fakes:
        studio.image(folder / "train2014" / f"COCO_train2014_{fake.number:012d}.jpg", fake.tone)
        sentences = [{"raw": f"Square of tone {fake.tone}", "sent": f"square of tone {fake.tone}", "sent_id": fake.number}]
        ids = {"ref_id": fake.number, "ann_id": fake.number, "image_id": fake.number, "category_id": 1}
        refs.append({**ids, "split": fake.split, "sentences": sentences})
        images.append({"id": fake.number, "width": SIDE, "height": SIDE})
        annotations.append({"id": fake.number, "image_id": fake.number, "bbox": [16.0, 8.0, 32.0, 48.0]})
    (folder / f"refs({by}).p").write_bytes(pickle.dumps(refs, protocol=2))
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "square"}]}
    _write_lines(folder / "instances.json", [json.dumps(content)])


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


WRITERS: dict[str, Writer] = {
    "meld": _write_meld,
    "iemocap": _write_iemocap,
    "dfew": _write_dfew,
    "mafw": _write_mafw,
    "caer": _write_caer,
    "bold": _write_bold,
    "e3": _write_e3,
    "mc_eiu": _write_mc_eiu,
    "mer2023": _write_mer2023,
    "mer2024_semi": _write_mer2024_semi,
    "ov_merd+": _write_ov_merd,
    "cmu_mosi": partial(_write_mmsa, "label.csv"),
    "cmu_mosei": partial(_write_mmsa, "label.csv"),
    "ch_sims_v2_s": partial(_write_mmsa, "meta.csv"),
    "sims": _write_ch_sims,
    "coco_caption": _write_coco_caption,
    "refcoco": partial(_write_refcoco, "unc"),
    "refcocop": partial(_write_refcoco, "unc"),
    "refcocog": partial(_write_refcoco, "umd"),
    "coco_vqa": partial(_write_questions, "vqa_train.json", "answer"),
    "ok_vqa": partial(_write_questions, "okvqa_train.json", "answer"),
    "aok_vqa": partial(_write_questions, "aokvqa_v1p0_train.json", "direct_answers"),
    "gqa": partial(_write_questions, "train_balanced_questions.json", "answer"),
}
