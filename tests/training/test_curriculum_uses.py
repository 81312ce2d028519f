"""What the published training is used for: a data set of one's own, ablations, a rehearsal's server, a check of the machine."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("peft")
pytest.importorskip("pydantic")
pytest.importorskip("soundfile")

from ros2_emollama.config import Config, ModelConfig  # noqa: E402
from ros2_emollama.model.folder import open_folder  # noqa: E402
from ros2_emollama.pipeline import Pipeline  # noqa: E402
from ros2_emollama.reasoner.prompt import prompts_of  # noqa: E402
from ros2_emollama.types import Frame, GridFrame, Window  # noqa: E402
from tests.training.curriculum_room import SMALL, Room, alone, make_room  # noqa: E402
from tests.training.tables import write_table  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.annotation import stand_in  # noqa: E402
from training.annotation.action_units import Expression  # noqa: E402
from training.annotation.agents import AudioAgent, Case, FusingAgent, VisualAgent  # noqa: E402
from training.annotation.chat_api import ChatClient, Endpoint  # noqa: E402
from training.annotation.clips import AnnotationClip  # noqa: E402
from training.annotation.evidence import read_evidence  # noqa: E402
from training.annotation.reply_cache import ReplyCache  # noqa: E402
from training.annotation.usage import Ledger  # noqa: E402
from training.curriculum.ablation import CURRICULA, FUSIONS, PUBLISHED, markdown  # noqa: E402
from training.curriculum.benching import comparison  # noqa: E402
from training.curriculum.lessons import affect_of  # noqa: E402
from training.curriculum.own import OwnNumbers, labels_of, own_sample, read_own  # noqa: E402
from training.curriculum.plan import Joint, numbers_of  # noqa: E402
from training.curriculum.reading import texts_of  # noqa: E402
from training.curriculum.start import TINY_V2, write_start  # noqa: E402
from training.curriculum.student import changed_preset, make_student  # noqa: E402
from training.curriculum.teach import School, run_stage  # noqa: E402
from training.datasets.index import load  # noqa: E402
from training.datasets.problems import SetProblems  # noqa: E402
from training.fabricate import Studio, pitch_of  # noqa: E402
from training.problems import StrictError  # noqa: E402

WHEELS = Path(os.environ.get("DATA", "../shared/data")) / "emotion_wheel"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return make_room(tmp_path_factory.mktemp("room"))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two moods, a film and a sound of each, one of each held out."""
    studio, rows = Studio(tmp_path), []
    for tone, label in enumerate(("Calm", "tense")):
        for split in ("train", "", "test"):
            name = f"clips/{label}{split or 'more'}.mp4"
            studio.video(tmp_path / name, 3 * tone)
            rows.append({"path": name, "label": label, "split": split, "transcript": "Look there." if split else "", "speaker": f"s{tone}"})
    studio.audio(tmp_path / "clips/voice.wav", 3)
    rows.append({"path": "clips/voice.wav", "label": "tense", "reason": "The voice is high.", "arousal": "0.5"})
    return write_table(tmp_path, rows)


def test_one_command_trains_and_measures_on_ones_own_csv(room: Room, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone()
    run = own.parent / "run"
    told = ["fit", "--preset", "emotion_llama_v2_tiny", "--csv", own, "--start", room.start.root, "--run", run, "--threads", 1]
    given = [str(value) for value in (*told, "--steps", 3, "--batch", 2, "--head", 8, "--log-every", 1)]
    assert main(given) == 0, capsys.readouterr()
    assert "held out accuracy" in capsys.readouterr().out
    model = open_folder(run / "own" / "model")
    assert model.preset.labels == ("Calm", "tense") and model.preset.has_head
    report = json.loads((run / "own" / "held_out.json").read_text())
    lines = [json.loads(line) for line in (run / "own" / "held_out.jsonl").read_text().splitlines()]
    assert report["n"] == len(lines) == 2 and report["failed"] == []
    assert sum(line["response"] == line["answer"] for line in lines) / 2 == report["accuracy"]
    assert all(sum(line["scores"].values()) == pytest.approx(1.0, abs=1e-4) for line in lines)
    assert main(given) == 0, "what is done is only told again"


def test_valence_and_arousal_leave_with_every_window_of_a_model_trained_for_them(room: Room, own: Path) -> None:
    with own.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    write_table(own.parent, [{**row, "valence": "0.8" if row["label"] == "Calm" else "-0.8"} for row in rows])
    recipe = dataclasses.replace(SMALL, steps=4, batch=4)
    plan = room.plan(own.parent / "run", recipe, stage="own", features="", csv=own, affect=True)
    assert run_stage(plan, alone())["affect_error"] > 0
    told = {}
    for name, root in {"trained": plan.model, "start": room.start.root}.items():
        pipeline = Pipeline.load(Config(model=ModelConfig(path=str(root), runtime="torch")))
        frames = tuple(GridFrame(tick, Frame(tick * 250_000_000, np.full((64, 64, 3), 90, np.uint8))) for tick in range(16))
        window = Window(16, 0, 4_000_000_000, frames, np.zeros(64000, np.float32), 16000, np.ones(16, np.bool_))
        told[name] = pipeline.perceive(window).state
    assert all(-1 < value < 1 for value in (told["trained"].valence, told["trained"].arousal))
    assert np.isnan([told["start"].valence, told["start"].arousal]).all()


def test_affect_is_scaled_as_its_publisher_has_it(own: Path) -> None:
    first = read_own(own)[0]
    clips = {
        "iemocap": [
            dataclasses.replace(first, id=str(v), set="iemocap", values={"valence": v, "activation": 3.0}) for v in (1.0, 5.0, 9.0)
        ],
        "mer2023": [dataclasses.replace(first, set="mer2023", values={"valence": -5.0})],
        "meld": [dataclasses.replace(first, set="meld", values={"valence": 1.0})],
    }
    found = affect_of(clips)
    assert found["iemocap/1.0"] == (-1.0, 0.0) and found["iemocap/5.0"] == (1.0, 0.0) and len(found) == 4
    assert np.isnan(found["iemocap/9.0"][0]) and np.isnan(found[f"mer2023/{first.id}"][1])


def test_it_is_asked_in_training_what_a_robot_asks(room: Room, own: Path) -> None:
    clips = read_own(own)
    preset = dataclasses.replace(TINY_V2, labels=labels_of(clips))
    school = School(room.plan(own.parent / "run", features="", stage="own", csv=own), alone())
    prompts = prompts_of(preset, school.teacher._tokenizer)
    said = [sample for _, sample in zip(range(60), (s for _, s in OwnNumbers(clips, preset, 1).stream()), strict=False)]
    assert {(bool(sample.says), sample.task) for sample in said} == {(True, "emotion"), (False, "emotion"), (False, "reason")}
    for sample in said:
        robot = prompts.build(sample.task, transcript=sample.transcript)
        got = school.teacher.tokens(sample, ("scene", "frames", "audio"))
        ids = got.ids[: got.prompt].tolist()
        assert ids == [*robot.before_prefix, *[-1] * preset.prefix.tokens, *robot.after_prefix]
    heard = next(clip for clip in clips if clip.media.audio)
    assert heard.values == {"arousal": 0.5} and own_sample(heard, preset).answer == "tense"


def test_every_process_takes_its_numbers_of_ones_own_clips(own: Path) -> None:
    numbers = OwnNumbers(read_own(own), TINY_V2, 3)

    def first(start: int, rank: int, world: int, count: int) -> dict[int, tuple[str, str]]:
        return {
            number: (sample.id, sample.task) for _, (number, sample) in zip(range(count), numbers.stream(start, rank, world), strict=False)
        }

    whole = first(0, 0, 1, 40)
    assert whole == {**first(0, 0, 2, 20), **first(0, 1, 2, 20)}
    assert first(17, 0, 1, 5) == {number: whole[number] for number in range(17, 22)}
    assert set(first(17, 0, 2, 3)) == {18, 20, 22} and set(first(17, 1, 2, 3)) == {17, 19, 21}
    assert Counter(name for name, _ in list(whole.values())[:5]).most_common(1)[0][1] == 1, "a pass shows each clip once"


def test_what_is_wrong_with_a_row_is_named_with_file_and_row(own: Path) -> None:
    with own.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    bad = (
        {"path": "clips/none.mp4", "label": "tense"},
        {"path": "../out.mp4", "label": "tense"},
        {"path": rows[0]["path"], "label": "tense"},
    )
    worse = (
        {"path": "clips/tensemore.mp4", "label": "nan", "id": "x"},
        {"path": rows[1]["path"], "label": "Calm", "id": "y", "valence": "7"},
    )
    write_table(own.parent, [*rows, *bad, *worse])  # type: ignore[list-item]
    problems = SetProblems()
    clips = read_own(own, problems)
    assert len(clips) == len(rows) + 1 and clips[-1].values == {}
    assert problems.counts == {"missing media": 2, "duplicate id": 1, "no label": 1, "label outside the set": 1}
    assert any(text.startswith("clips.csv, row 9: missing media") for text in problems.told)
    with pytest.raises(StrictError, match="row"):
        read_own(own, SetProblems(strict=True))


def test_labels_that_cannot_be_learnt_are_refused(own: Path) -> None:
    with own.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    write_table(own.parent, [{**row, "label": "Calm"} for row in rows])
    with pytest.raises(ValueError, match="at least two are needed"):
        labels_of(read_own(own))
    write_table(own.parent, [{**row, "label": "odd" if row["split"] == "test" else row["label"]} for row in rows])
    with pytest.raises(ValueError, match=r"clips.csv, row 4: no training clip has the label 'odd'"):
        labels_of(read_own(own))
    (own.parent / "clips.csv").write_text("file,label\na.mp4,x\n")
    with pytest.raises(ValueError, match="needs path; it has file, label"):
        read_own(own)


def test_joint_training_draws_from_both_stages_alike_on_any_number_of_processes(room: Room, tmp_path: Path) -> None:
    clips = {name: [clip for clip in found if clip.split == "train"] for name, found in load(room.index).items()}
    joint = numbers_of(room.plan(tmp_path, stage="joint"), clips)
    assert isinstance(joint, Joint)
    whole = {number: sample.task for _, (number, sample) in zip(range(200), joint.stream(), strict=False)}
    tasks = Counter(whole.values())
    assert tasks["audio"] + tasks["image"] > 20 and tasks["think"] + tasks["reason"] > 20
    second = {number: sample.task for _, (number, sample) in zip(range(50), joint.stream(60, 1, 2), strict=False)}
    assert second == {number: whole[number] for number in second} and min(second) == 61


def test_every_fusion_can_stand_between_the_streams(room: Room, tmp_path: Path) -> None:
    lesson = next(School(room.plan(tmp_path), alone()).lessons(0))
    for method in FUSIONS:
        preset = changed_preset(room.start.preset, head=8, fusion=method)
        student = make_student(room.start, preset, SMALL.lora).train()
        losses = student(lesson)
        (losses.answer.mean() + losses.head.mean()).backward()
        still = [name for name, value in student.named_parameters() if value.requires_grad and value.grad is None]
        assert not still and all(torch.isfinite(value).all() for value in losses), method
    with pytest.raises(ValueError, match=r"fusion.method must be one of"):
        make_student(room.start, changed_preset(room.start.preset, fusion="magic"), SMALL.lora)


def test_a_tiny_language_model_reads_the_training_texts_first(room: Room, tmp_path: Path) -> None:
    clips = {name: [clip for clip in found if clip.split == "train"] for name, found in load(room.index).items()}
    samples = texts_of(clips, 20)
    assert {sample.task for sample in samples} >= {"emotion", "audio", "think", "reason"}
    start = write_start(TINY_V2, tmp_path / "start", samples=samples, steps=30)
    note = start.manifest.info["notes"][-1]
    assert "read 40 texts for 30 steps" in note and float(note.split()[-1]) < np.log(TINY_V2.llama.vocab), "better than even odds"
    with pytest.raises(ValueError, match="is there already"):
        write_start(TINY_V2, tmp_path / "start")


def test_ablate_writes_the_papers_table_and_does_no_row_twice(room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not WHEELS.is_dir():
        pytest.skip("no emotion wheels; set DATA to a folder that has them")
    alone()
    told = ["ablate", "--preset", "emotion_llama_v2_tiny", "--group", "curriculum", "--start", room.start.root, "--run", tmp_path]
    data = ["--index", room.index, "--features", room.features, "--wheels", WHEELS, "--threads", 1, "--max-tokens", 3]
    given = [str(value) for value in (*told, *data, "--steps", 1, "--batch", 2, "--log-every", 1)]
    assert main(given) == 0, capsys.readouterr()
    table = (tmp_path / "ablation_curriculum.md").read_text()
    assert "FABRICATED DATA" in table and "| perception, then cognition | – | – |" in table and "| 78.52 | 66.63 |" in table
    rows = json.loads((tmp_path / "ablations.json").read_text())["curriculum"]
    assert set(rows) == set(CURRICULA) and all(0 <= row["meld_sentiment"] <= 100 for row in rows.values())
    steps = {name: json.loads(next((tmp_path / "curriculum").glob(f"{name}/*/run.json")).read_text())["recipe"]["steps"] for name in rows}
    assert steps == {"joint": 2, "perception": 1, "cognition": 1}
    before = (tmp_path / "ablations.json").stat().st_mtime_ns
    assert main(given) == 0 and (tmp_path / "ablations.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_whole_curriculum_runs_in_miniature(tmp_path: Path) -> None:
    """Five steps of each stage: from made-up data to the table. `make train-tiny` is the same with enough steps to learn something."""
    from training.face_measures import LANDMARK_MODEL

    if not (WHEELS.is_dir() and LANDMARK_MODEL.is_file()):
        pytest.skip("no emotion wheels, or no landmarks: make landmarks")
    alone()
    told = ["rehearse", "--run", str(tmp_path), "--steps", "5", "--per-label", "1", "--wheels", str(WHEELS)]
    assert main(told) == 0
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert len(found) == 3 and all(0 <= figures["Avg-18"] <= 100 for figures in found.values())
    asked = [json.loads(line) for line in (tmp_path / "annotation" / "meld" / "annotations.jsonl").read_text().splitlines()]
    assert all(item["findings"]["reasoning"]["status"] == "ok" for item in asked)
    texts = [clip.text("gpt-4o-mini_Emotion") for clip in load(tmp_path / "index")["meld"]]
    assert all("Taken together they speak of" in text for text in texts), "training reads what was annotated"


def test_tables_mark_the_best_and_what_is_made_up() -> None:
    text = comparison({"a": {"caer": 10.0, "Avg-9": None}, "b": {"caer": 20.0}}, fabricated=True)
    assert "FABRICATED DATA" in text and "| CAER | 10.00 | **20.00** |" in text and "| Avg-9 | – | – |" in text
    assert set(PUBLISHED["fusion"]) == set(FUSIONS) and set(PUBLISHED["curriculum"]) == set(CURRICULA)
    row = {"Avg-9": 50.0, "Avg-18": 40.0, "answer_loss": 1.0}
    assert "| Conv-Attention | 50.00 | 40.00 | 1.000 | 78.91 | 66.05 |" in markdown("fusion", {"conv_attention": row})


def test_qlora_without_its_library_or_a_gpu_names_the_cure(room: Room) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ImportError, match=r"pip install bitsandbytes; or train LoRA"):
        make_student(room.start, room.start.preset, SMALL.lora, "qlora")


@pytest.mark.parametrize("language", ["whole", "frozen"])
def test_the_language_model_may_be_trained_whole_or_not_at_all(room: Room, tmp_path: Path, language: str) -> None:
    from safetensors.torch import load_file

    run_stage(room.plan(tmp_path, dataclasses.replace(SMALL, steps=1, batch=2), language=language), alone())
    model = open_folder(tmp_path / "stage1" / "model")
    model.verify()
    before, after = (load_file(root / "llama/weights/model.safetensors") for root in (room.start.root, model.root))
    assert before.keys() == after.keys() and "adapter" not in model.manifest.language
    moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert bool(moved) == (language == "whole")


def test_the_stand_in_says_over_http_what_it_measures(tmp_path: Path) -> None:
    Studio(tmp_path).video(tmp_path / "a.mp4", 4)
    clip = AnnotationClip("a", tmp_path / "a.mp4", label="happy", transcript="Yes.")

    async def ask(url: str) -> list[str]:
        async with ChatClient(Endpoint(url, stand_in.NAME), ReplyCache(tmp_path / "cache"), Ledger()) as client:
            case = Case(clip, read_evidence(clip), Expression())
            seen, heard = await VisualAgent(client).find(case), await AudioAgent(client).find(case)
            both = await FusingAgent(client).find(dataclasses.replace(case, findings={"visual": seen, "audio": heard}))
            return [finding.text for finding in (seen, heard, both)]

    with stand_in.serving() as url:
        seen, heard, both = asyncio.run(ask(url))
    assert f"tone of {pitch_of(4):.0f} hertz" in heard or abs(float(heard.split()[3]) - pitch_of(4)) < 2
    assert "goes with happy" in seen and "hertz" in both and "red" in both and both.endswith("speak of happy.")


def test_the_device_check_trains_and_tells_what_it_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone()
    path = tmp_path / "check.json"
    told = ["device-check", "--preset", "emotion_llama_v2_tiny", "--steps", "40", "--batch", "2", "--output", str(path)]
    assert main(told) == 0 and main(told) == 0, "a second check trains anew"
    report = json.loads(path.read_text())
    assert report["fell"] and len(report["loss"]) == 40 and report["positions"] == 1 + 208 + 150 + 60
    assert report["seconds_per_step"] > 0 and report["memory_gb"] is None and report["trained_parameters"] < report["parameters"]
    assert np.isfinite(report["loss"]).all() and "s a step" in capsys.readouterr().out
