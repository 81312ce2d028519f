"""Training of the published presets: gone on with exactly, alike on any number of processes, and it minimises what a robot computes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("peft")
pytest.importorskip("pydantic")
pytest.importorskip("soundfile")


from ros2_emollama.cli import main as emollama  # noqa: E402
from ros2_emollama.model.folder import open_folder  # noqa: E402
from ros2_emollama.model.graphs import graph_specs  # noqa: E402
from ros2_emollama.model.weights import network_weights  # noqa: E402
from ros2_emollama.runtime.factory import open_runtime  # noqa: E402
from ros2_emollama.types import Float32  # noqa: E402
from tests.core.clips import write_clip  # noqa: E402
from tests.training.curriculum_room import SMALL, Room, alone, make_room, weights_of  # noqa: E402
from tests.training.in_processes import in_processes, stage_without_dropout, state_through_shards  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.benchmarks.reasoning import PARTS, Opened, Settings, open_answerer  # noqa: E402
from training.curriculum import teach  # noqa: E402
from training.curriculum.lessons import Teacher, label_places  # noqa: E402
from training.curriculum.plan import Plan  # noqa: E402
from training.curriculum.recipes import RECIPES, Lora  # noqa: E402
from training.curriculum.start import TINY_V1, TINY_V2, write_start  # noqa: E402
from training.curriculum.teach import School, run_stage  # noqa: E402
from training.datasets.index import load  # noqa: E402
from training.features import Stored, compute  # noqa: E402
from training.instructions_tokens import NO_LOSS  # noqa: E402
from training.loop import Diverged, NothingUsed, parameter_groups, read_log  # noqa: E402
from training.problems import StrictError  # noqa: E402
from training.state import newest  # noqa: E402


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return make_room(tmp_path_factory.mktemp("room"))


@pytest.fixture(scope="module")
def trained(room: Room, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps."""
    run = tmp_path_factory.mktemp("trained")
    run_stage(room.plan(run), alone())
    return run


class Stopped(Exception):
    """Stands for a kill in the middle of a run."""


def test_a_run_that_was_killed_ends_with_the_same_weights_and_log(
    room: Room, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = iter(range(100))
    lessons = School.lessons

    def some(self: School, step: int) -> object:
        for lesson in lessons(self, step):
            if next(count) == 5:  # a step after the last state
                raise Stopped
            yield lesson

    monkeypatch.setattr(School, "lessons", some)
    with pytest.raises(Stopped):
        run_stage(room.plan(tmp_path), alone())
    monkeypatch.undo()
    assert len(read_log(tmp_path / "stage1")) == 5
    run_stage(room.plan(tmp_path), alone())
    first, second = weights_of(trained), weights_of(tmp_path)
    assert first.keys() == second.keys() and any("lora_B" in name for name in first)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=0)
    logs = [[(line["step"], line["loss"]) for line in read_log(run / "stage1")] for run in (trained, tmp_path)]
    assert logs[0] == logs[1] and [step for step, _ in logs[0]] == [1, 2, 3, 4, 5, 6]


def test_the_log_is_lines_and_for_tensorboard_where_that_is_installed(trained: Path) -> None:
    lines = read_log(trained / "stage1")
    assert {"loss", "answer_loss", "head_loss", "token_accuracy", "learning_rate", "seconds_per_step"} <= set(lines[-1])
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained / "stage1" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [line["step"] for line in lines]
    np.testing.assert_allclose([event.value for event in events.Scalars("loss")], [line["loss"] for line in lines], rtol=1e-4)


def test_another_run_does_not_go_on_from_it(room: Room, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "stage1").symlink_to(trained / "stage1")
    other = dataclasses.replace(SMALL, learning_rate=1e-3)
    (trained / "stage1" / "model").rename(trained / "stage1" / "aside")
    try:
        with pytest.raises(ValueError, match=r"recipe .*give another --run"):
            run_stage(room.plan(tmp_path, other), alone())
    finally:
        (trained / "stage1" / "aside").rename(trained / "stage1" / "model")


def test_two_processes_have_the_loss_of_one_with_twice_the_batch(room: Room, tmp_path: Path) -> None:
    """Without dropout, whose draws are each process's own. Gradients are averaged too, or later losses would part."""
    stage_without_dropout(room.plan(tmp_path / "one"))
    stage_without_dropout(room.plan(tmp_path / "parts", SMALL, micro_batch=1, checkpointing=True))
    in_processes(2, stage_without_dropout, room.plan(tmp_path / "two"))
    told = {name: [line["loss"] for line in read_log(tmp_path / name / "stage1")] for name in ("one", "parts", "two")}
    assert len(told["one"]) == 6 and told["one"][-1] != pytest.approx(told["one"][0], rel=1e-3)
    np.testing.assert_allclose(told["two"], told["one"], rtol=1e-4)
    np.testing.assert_allclose(told["parts"], told["one"], rtol=1e-4)
    assert json.loads((tmp_path / "two" / "stage1" / "run.json").read_text())["processes"] == 2


def test_a_model_in_shards_keeps_and_takes_the_state_of_a_whole_one(room: Room, trained: Path, tmp_path: Path) -> None:
    """As FSDP shards it, frozen parts of another type and all; so a run may go on with more GPUs, or with one."""
    path = newest(trained / "stage1")
    assert path is not None
    in_processes(2, state_through_shards, room.plan(tmp_path), path)
    for name, value in weights_of(trained).items():
        torch.testing.assert_close(weights_of(tmp_path)[name], value, rtol=0, atol=0)
    before, after = (
        torch.load(state / "optimizer.pt", weights_only=True)["optimizer"]["state"] for state in (path, newest(tmp_path / "stage1"))
    )
    assert before.keys() == after.keys() and len(before) > 20
    for name, entry in before.items():
        torch.testing.assert_close(after[name]["exp_avg"], entry["exp_avg"], rtol=0, atol=0)


def test_in_bfloat16_what_is_trained_stays_float32(room: Room, tmp_path: Path) -> None:
    accelerator = alone("bf16")
    school = School(room.plan(tmp_path, precision="bf16"), accelerator)
    types = {value.requires_grad: value.dtype for value in school.student().parameters()}
    assert types == {True: torch.float32, False: torch.bfloat16}
    figures = run_stage(room.plan(tmp_path, dataclasses.replace(SMALL, steps=2), precision="bf16"), accelerator)
    assert np.isfinite(list(figures.values())).all()
    assert {value.dtype for value in weights_of(tmp_path).values()} == {torch.float32}


def test_a_start_that_is_asked_in_words_of_its_own_is_refused_with_the_way_to_train_it(room: Room, nano: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nano.*fit --preset nano --csv FILE.*make train-nano"):
        run_stage(dataclasses.replace(room.plan(tmp_path), start=nano), alone())


def test_a_batch_that_cannot_be_shared_out_is_refused(room: Room, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must divide a process's share of 4"):
        run_stage(room.plan(tmp_path, micro_batch=3), alone())


def test_the_loss_is_that_of_the_whole_sequence_on_the_answer_alone(room: Room, tmp_path: Path) -> None:
    school = School(room.plan(tmp_path), alone())
    student = school.student().eval()
    lesson = next(school.lessons(0))
    assert (lesson.labels[lesson.rows >= 0] == NO_LOSS).all(), "no loss on the prefix"
    with torch.inference_mode():
        losses = student(lesson)
        prefix = student.fusion.read(*(lesson.streams[name] for name in student.fusion.given)).prefix
        for i in range(len(lesson.keys)):
            size = int(lesson.mask[i].sum())
            rows = [prefix[i, row] if row >= 0 else student.llama.get_input_embeddings()(lesson.ids[i, place])
                    for place, row in enumerate(lesson.rows[i, :size].tolist())]  # fmt: skip
            logits = student.llama(inputs_embeds=torch.stack(rows)[None]).logits[0]
            answer = lesson.labels[i, :size]
            assert answer[-1] == 2 and (answer[answer >= 0] == lesson.ids[i, :size][answer >= 0]).all()
            wanted = torch.nn.functional.cross_entropy(logits[:-1], answer[1:], ignore_index=NO_LOSS)
            torch.testing.assert_close(losses.answer[i], wanted, rtol=1e-4, atol=1e-4)


def test_what_is_minimised_is_what_the_trained_folder_computes_on_a_robot(room: Room, trained: Path) -> None:
    """The torch runtime on RUN/stage1/model gives the answer the probability that training saw, at the last weights."""
    folder = open_folder(trained / "stage1" / "model")
    folder.verify()
    school = School(room.plan(trained / "again"), alone())
    school.start = folder  # its student is the trained one
    student = school.student().eval()
    _, sample = next(school.numbers.stream())
    lesson = school.teacher.lesson([sample], [school.teacher.look(sample)])
    with torch.inference_mode():
        wanted = float(student(lesson).answer[0])
    answerer = open_answerer(str(folder.root), Settings())
    arrays = Stored(room.features).of(sample)
    prompt = answerer.prompt(sample)
    session = answerer._reasoner._session
    ids = [int(token) for token in lesson.labels[0] if token >= 0]
    prefix = answerer.prefix(Opened(sample, arrays))
    told = [session.embed(np.array(part, np.int64)) for part in (prompt.before_prefix, prompt.after_prefix)]
    logits = [session.extend(np.concatenate([told[0], prefix, told[1]]))]
    logits += [session.extend(session.embed(np.array([token], np.int64))) for token in ids[:-1]]
    found = torch.nn.functional.cross_entropy(torch.from_numpy(np.stack(logits)), torch.tensor(ids))
    assert float(found) == pytest.approx(wanted, rel=1e-3)


def test_encoders_stay_and_are_linked_not_copied(room: Room, trained: Path) -> None:
    model = open_folder(trained / "stage1" / "model")
    before, after = network_weights(room.start.root), network_weights(model.root)
    moved = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == {"projections", "conv_pro_module"}
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == {"label_head"}
    assert (model.root / "network.safetensors").samefile(room.start.root / "network.safetensors")
    assert model.manifest.info["training"]["fabricated_data"] is True and model.preset.has_head


def test_stage_two_goes_on_from_stage_one(room: Room, trained: Path, tmp_path: Path) -> None:
    plan = dataclasses.replace(room.plan(tmp_path), stage="2", start=trained / "stage1" / "model", head=None)
    school = School(plan, alone())
    start, first = school.student().state_dict(), weights_of(trained)
    for name, value in first.items():
        torch.testing.assert_close(start[name], value, rtol=0, atol=0)
    tasks = {sample.task for (_, sample), _ in zip(school.numbers.stream(), range(60), strict=False)}
    assert {"think", "reason"} <= tasks and "audio" not in tasks


def test_a_clip_without_features_is_named_and_one_that_fails_has_no_weight(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = room.features.parent / "fewer"
    clips = [clip for found in load(room.index).values() for clip in found if clip.split == "train"]
    arrays = Stored(room.features)
    compute(clips[1:], lambda: arrays.of, "fewer", lacking, dtype="float32")  # type: ignore[arg-type,return-value]
    school = School(room.plan(tmp_path, features=str(lacking)), alone())
    assert school.problems.counts == {"no features": 1} and clips[0].key in school.problems.told[0]
    silent = room.features.parent / "silent"
    compute(clips, lambda: lambda clip: {k: v for k, v in arrays.of(clip).items() if PARTS[k] != "audio"}, "silent", silent)
    with pytest.raises(ValueError, match=r"features \(silent\) have no audio; encode it while training"):
        School(room.plan(tmp_path, features=str(silent)), alone())
    with pytest.raises(StrictError, match="no features"):
        School(room.plan(tmp_path, features=str(lacking), strict=True), alone())
    _, sample = next(school.numbers.stream())
    broken = ValueError("it is cut off")
    looked = school.teacher.look(sample)
    lesson = school.teacher.lesson([sample, sample], [looked, broken])
    assert lesson.weight.tolist() == [1.0, 0.0] and "it is cut off" in school.problems.told[-1]
    with monkeypatch.context() as patched:
        patched.setattr(Teacher, "look", lambda self, sample: broken)
        with pytest.raises(NothingUsed, match=r"not one clip of 3 steps could be used; problems-0.jsonl"):
            run_stage(room.plan(tmp_path / "broken"), alone())
    told = (tmp_path / "broken" / "stage1" / "problems-0.jsonl").read_text().splitlines()
    assert len(told) >= 12 and json.loads(told[0])["file"].endswith(".csv") and json.loads(told[0])["row"] > 1
    nothing = school.teacher.lesson([sample], [broken])
    assert nothing.weight.tolist() == [0.0] and torch.isfinite(school.student()(nothing).answer).all()


def test_a_loss_that_is_no_number_ends_the_run_with_the_cure(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = teach.nothing_of

    def broken(*given: object) -> Mapping[str, Float32]:
        return {**nothing(*given), "scene_cls": np.full(64, np.nan, np.float32)}  # type: ignore[arg-type]

    monkeypatch.setattr(teach, "nothing_of", broken)
    with pytest.raises(Diverged, match=r"step \d+; lower --learning-rate"):
        run_stage(room.plan(tmp_path, dataclasses.replace(SMALL, steps=20)), alone())


def test_published_schedules() -> None:
    v2, v1 = RECIPES["emotion_llama_v2"]["1"], RECIPES["emotion_llama"]["1"]
    assert [v2.rate(step) for step in (0, 500, 1000, 50_000)] == pytest.approx([1e-6, 5.05e-5, 1e-4, 1e-6], rel=2e-3)
    assert (v2.steps, v2.batch, v2.weight_decay, v2.lora) == (50_000, 4, 0.05, Lora(64, 16.0, 0.05, ("q_proj", "v_proj")))
    assert v1.rate(1000) == pytest.approx(1e-5, rel=3e-3) and RECIPES["emotion_llama"]["2"].rate(15_000) == 1e-6
    groups = parameter_groups(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2)), 0.05)
    assert [len(group["params"]) for group in groups] == [1, 3] and groups[1]["weight_decay"] == 0.0


def test_labels_reach_the_head_in_whatever_form_a_set_writes_them(room: Room) -> None:
    places = label_places(load(room.index), TINY_V2.labels)
    clips = {clip.key: clip for clip in load(room.index)["meld"]}
    told = {(clips[key].label("emotion"), TINY_V2.labels[place]) for key, place in places.items()}
    assert told == {("anger", "anger"), ("disgust", "disgust"), ("fear", "fear"), ("joy", "happy"), ("neutral", "neutral"),
                    ("sadness", "sad"), ("surprise", "surprise")}  # fmt: skip


def test_v1_trains_by_the_same_loop_with_its_text_inside_the_prefix(room: Room, tmp_path: Path) -> None:
    start = write_start(TINY_V1, tmp_path / "start")
    recipe = dataclasses.replace(SMALL, steps=2, batch=2)
    plan = Plan(stage="1", run=tmp_path, start=start.root, recipe=recipe, index=room.index, workers=1, log_every=1, head=8)
    figures = run_stage(plan, alone())
    model = open_folder(tmp_path / "stage1" / "model")
    assert figures["answer_loss"] > 0 and figures["head_loss"] > 0 and model.manifest.language["adapter"] and model.preset.has_head
    encoders, _ = open_runtime(model, "torch", with_language=False)
    inputs = {tensor.name: np.ones(tensor.shape, np.float32) for tensor in graph_specs(model.preset)["fusion"].inputs}  # type: ignore[arg-type]
    told = encoders.run("fusion", inputs)
    assert told["probabilities"].shape == (1, 9) and told["prefix"].shape == (1, 20, 64)
    with pytest.raises(ValueError, match="fuses nothing"):
        run_stage(dataclasses.replace(plan, run=tmp_path / "other", fusion="conv"), alone())


def test_one_batch_is_learnt_by_heart(room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--index", room.index, "--features", room.features, "--start", room.start.root, "--run", tmp_path, "--threads", 1]
    told = ["fit", "--preset", "emotion_llama_v2_tiny", "--stage", "1", *given, "--batch", 2, "--overfit-one-batch", 180]
    alone()
    assert main([str(value) for value in told]) == 0, capsys.readouterr()
    assert "one batch, 180 steps: loss" in capsys.readouterr().out and not (tmp_path / "stage1").exists()


def analysed(model: Path, folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> list[dict[str, Any]]:
    """Records of a clip by `emollama analyze`."""
    write_clip(folder / "clip.mkv", 4.5, fps=4)
    capsys.readouterr()
    assert emollama(["analyze", str(folder / "clip.mkv"), "--model", str(model), "--format", "jsonl", *more]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


def test_a_trained_folder_analyses_a_clip_as_it_is(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = analysed(trained / "stage1" / "model", tmp_path, capsys, "--model.runtime", "torch")
    assert lines and set(lines[0]["probabilities"]) == set(TINY_V2.labels)
    assert sum(lines[0]["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.slow
def test_export_takes_a_trained_folder_and_gives_the_same_labels(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Graphs, and the language model in 4 bits with the adapter added; labels come from the trained head."""
    from export.to_onnx import main as export_main

    before = analysed(trained / "stage1" / "model", tmp_path, capsys, "--model.runtime", "torch")
    model = shutil.copytree(trained / "stage1" / "model", tmp_path / "model")
    assert export_main(["--model", str(model)]) == 0
    after = analysed(model, tmp_path, capsys, "--explain")
    assert len(after) == len(before)
    for first, second in zip(before, after, strict=True):
        assert second["probabilities"] == pytest.approx(first["probabilities"], abs=1e-2)
