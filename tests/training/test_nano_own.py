"""nano taught on a handful of somebody's own clips: what it learns, what it keeps, what it refuses.

The clips are made up: a colour and a tone a label, which the frozen encoders tell apart although nobody is in them.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("onnxscript")
pytest.importorskip("pydantic")
pytest.importorskip("soundfile")
pytest.importorskip("skimage")

from ros2_emollama import cli  # noqa: E402
from ros2_emollama.analysis import windows_of  # noqa: E402
from ros2_emollama.media import read_clip  # noqa: E402
from ros2_emollama.model.folder import ModelFolder, open_folder  # noqa: E402
from ros2_emollama.model.presets import NANO  # noqa: E402
from ros2_emollama.pipeline import Pipeline  # noqa: E402
from ros2_emollama.types import Window  # noqa: E402
from ros2_emollama.windows import WindowAssembler, WindowSpec  # noqa: E402
from tests.core.clips import write_clip  # noqa: E402
from tests.training.tables import write_table  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.curriculum.own import TRAIN, read_own  # noqa: E402
from training.datasets.problems import KINDS, SetProblems  # noqa: E402
from training.evaluate import window_holding  # noqa: E402
from training.fabricate import Studio  # noqa: E402
from training.own.folder import write_taught  # noqa: E402
from training.own.labels import taught_preset  # noqa: E402
from training.own.lesson import logits_of, shown_of  # noqa: E402
from training.own.network import load_start, network_of  # noqa: E402
from training.own.played import spread, windows_in  # noqa: E402
from training.own.run import NOBODY, OwnSchedule, Plan, taught_network  # noqa: E402
from training.own.temperatures import fit_temperatures, held_apart  # noqa: E402
from training.own.tokens import NOT_ENCODED, Tokens, encode_clips, nobody_window, open_pipeline  # noqa: E402
from training.problems import StrictError  # noqa: E402
from training.records import Clip, Media, Provenance  # noqa: E402
from training.scores import negative_log_likelihood  # noqa: E402

TONES = (0, 9)
MADE_UP = [(split, tone) for split in ("", TRAIN, TRAIN, "test") for tone in TONES]
SPEC = WindowSpec(hop_ticks=4)


def write_own(folder: Path, labels: tuple[str, str]) -> list[dict[str, str]]:
    """Six clips to learn from and two held out; of each label half of them a tone lower."""
    studio, rows = Studio(folder), []
    for number, (split, tone) in enumerate(MADE_UP):
        name = f"clips/{number}.mp4"
        studio.video(folder / name, tone + number // 2 % 2)
        rows.append({"path": name, "label": labels[TONES.index(tone)], "split": split})
    return rows


def break_clip(path: Path) -> None:
    """Its header stays, so that only decoding tells."""
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    size = int.from_bytes(content[start - 8 : start - 4], "big") - 8
    content[start : start + size] = bytes(size)
    path.unlink()
    path.write_bytes(content)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, nano: Path) -> Path:
    """What `fit --preset nano --csv` leaves: under two of the start's labels, which it gives to none of these clips."""
    folder = tmp_path_factory.mktemp("own")
    rows = write_own(folder, ("happy", "sad"))
    Studio(folder).video(folder / "clips" / "broken.mp4", 0)
    break_clip(folder / "clips" / "broken.mp4")
    rows.insert(2, {"path": "clips/broken.mp4", "label": "happy", "split": TRAIN})
    rows.append({"path": "clips/nowhere.mp4", "label": "sad", "split": TRAIN})
    told = ["fit", "--preset", "nano", "--csv", write_table(folder, rows), "--run", folder / "run", "--start", nano]
    assert main([str(value) for value in (*told, "--steps", 70, "--batch", 8, "--learning-rate", 3e-4, "--threads", 1)]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def pipelines(run: Path, nano: Path) -> tuple[Pipeline, Pipeline]:
    return open_pipeline(nano), open_pipeline(run / "model")


def probabilities(pipeline: Pipeline, window: Window) -> np.ndarray:
    return np.array(pipeline.perceive(window).state.probabilities)


def test_what_is_held_out_is_told_better_than_by_the_start(run: Path) -> None:
    report = json.loads((run / "held_out.json").read_text())
    assert report["taught"]["accuracy"] == 1.0 > report["start"]["accuracy"]
    assert report["taught"]["n"] == 2 and report["failed"] == [] and report["taught"]["labels"] == list(NANO.labels)
    line = json.loads((run / "held_out.jsonl").read_text().splitlines()[0])
    assert max(line["taught"], key=line["taught"].get) == line["label"] == "happy" != max(line["start"], key=line["start"].get)


def test_the_folder_is_whole_and_says_nothing_that_was_measured_of_another_model(run: Path, nano: Path) -> None:
    folder, start = open_folder(run / "model"), open_folder(nano)
    folder.verify()
    assert folder.preset == start.preset and folder.model_id.startswith("nano-own@")
    info = folder.manifest.info
    assert info["licence"] == start.manifest.info["licence"] and info["start"] == start.model_id
    assert info["training"]["own"]["clips_by_label"] == {"happy": 3, "sad": 3} and "face" not in info["training"]
    assert "start's" in info["training"]["own"]["temperatures"]
    assert not (folder.root / "report.json").exists() and "not for commercial use" in (folder.root / "MODEL_CARD.md").read_text()
    changed = {name for name, facts in folder.manifest.files.items() if facts != start.manifest.files[name]}
    assert changed == {"network.safetensors", "fusion.onnx"} and set(folder.manifest.files) == set(start.manifest.files)
    assert cli.main(["info", "--model", str(folder.root)]) == 0


def test_of_nobody_it_says_what_the_start_says(pipelines: tuple[Pipeline, Pipeline]) -> None:
    """Views and sounds that were not trained on; a few sounds resemble the made-up clips, in which nobody is either."""
    grey, silence = np.full((256, 256, 3), 90, np.uint8), np.zeros(64000, np.float32)
    plain = [window_holding(SPEC, None, None), window_holding(SPEC, grey, None), window_holding(SPEC, grey, silence)]
    moved = [
        np.abs(np.subtract(*(probabilities(pipeline, window) for pipeline in pipelines))).max()
        for window in (*plain, *(nobody_window(SPEC, 256, number) for number in range(1000, 1016)))
    ]
    assert moved[0] < 0.1 and max(moved[:3]) < 0.2 and np.median(moved) < 0.1, moved


def test_what_the_language_model_reads_hardly_moves(pipelines: tuple[Pipeline, Pipeline], run: Path) -> None:
    window = list(windows_in(Media(root=str(run.parent), video="clips/0.mp4"), SPEC))[-1]
    start, taught = (pipeline.perceive(window).prefix for pipeline in pipelines)
    assert 0 < np.square(start - taught).mean() < 0.03 * np.square(start).mean()


def test_the_graph_says_what_torch_says(pipelines: tuple[Pipeline, Pipeline], run: Path) -> None:
    config = dataclasses.replace(pipelines[1].config, model=dataclasses.replace(pipelines[1].config.model, runtime="torch"))
    for window in (nobody_window(SPEC, 256, 3), *windows_in(Media(root=str(run.parent), video="clips/1.mp4"), SPEC)):
        torch_says = probabilities(Pipeline.load(config), window)
        assert np.abs(probabilities(pipelines[1], window) - torch_says).max() < 1e-4


def test_clips_that_cannot_be_used_are_named_and_counted(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = open_folder(run / "model").manifest.info["training"]["own"]["problems"]
    assert counts == {"missing media": 1, NOT_ENCODED: 1, NOBODY: 6}
    told = ["fit", "--preset", "nano", "--csv", run.parent / "clips.csv", "--run", run]
    told += ["--steps", 70, "--learning-rate", 3e-4, "--batch", 8]
    before = (run / "model" / "manifest.json").read_bytes()
    assert main([str(value) for value in told]) == 0, "what is done is only told again"
    said = capsys.readouterr()
    assert "clips.csv, row 11: missing media" in said.err and (run / "model" / "manifest.json").read_bytes() == before
    assert "held out, taught accuracy 1.000" in said.out and "in 6 clips nobody was found" in said.out
    assert main([*map(str, told), "--strict"]) == 2 and "row 11" in capsys.readouterr().err
    assert main([*map(str, told[:-1]), "9"]) == 2 and "was begun otherwise: batch 8, now 9" in capsys.readouterr().err


def test_a_broken_clip_ends_it_where_that_is_asked(run: Path, pipelines: tuple[Pipeline, Pipeline], tmp_path: Path) -> None:
    clips = [clip for clip in read_own(run.parent / "clips.csv") if clip.id.endswith("broken")]
    with pytest.raises(StrictError, match=r"row 4: cannot be encoded \(clips/broken\): MediaError: .*broken\.mp4 holds nothing"):
        encode_clips(clips, pipelines[0], tmp_path, SetProblems(True, kinds=(*KINDS, NOT_ENCODED)))


def test_only_what_changed_is_encoded_anew(run: Path, pipelines: tuple[Pipeline, Pipeline], monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [clip for clip in read_own(run.parent / "clips.csv") if clip.split == TRAIN]
    encoded: list[Window] = []
    encode = pipelines[0].encode
    monkeypatch.setattr(pipelines[0], "encode", lambda window: encoded.append(window) or encode(window))
    problems = SetProblems(kinds=(*KINDS, NOT_ENCODED))
    shutil.copytree(next(run.glob("tokens-*")), run.parent / "again" / next(run.glob("tokens-*")).name)
    kept, tokens = encode_clips(clips, pipelines[0], run.parent / "again", problems)
    assert not encoded and len(kept) == 6
    part = dataclasses.replace(clips[0], media=dataclasses.replace(clips[0].media, end_seconds=0.6))
    _, changed = encode_clips([part, *clips[1:]], pipelines[0], run.parent / "again", problems)
    assert 0 < len(encoded) <= 4, "a shard of four clips, one of them broken"
    same, other = (item.tensors["audio_tokens"] for item in (tokens, changed))
    assert torch.equal(same[1:], other[1:]) and not torch.equal(same[0], other[0])


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, nano: Path) -> tuple[Path, list[Clip]]:
    folder = tmp_path_factory.mktemp("calm")
    return folder, read_own(write_table(folder, write_own(folder, ("calm", "tense"))))


def teach(run: Path, start: ModelFolder, clips: list[Clip], steps: int) -> dict[str, torch.Tensor]:
    """Its weights after so many steps."""
    trained = [clip for clip in clips if clip.split == TRAIN]
    plan = Plan(run / "clips.csv", "nano", run, OwnSchedule(steps=steps, batch=4), save_every=2)
    problems = SetProblems(kinds=(*KINDS, NOT_ENCODED, NOBODY))
    return taught_network(plan, start, taught_preset(start.preset, clips), trained, problems)[0].state_dict()


def test_a_run_that_was_stopped_ends_with_the_same_weights(
    calm: tuple[Path, list[Clip]], nano: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.own.lesson import Lesson

    folder, clips = calm
    start = open_folder(nano)
    straight = teach(folder / "straight", start, clips, 5)
    shutil.copytree(next((folder / "straight").glob("tokens-*")), folder / "stopped" / next((folder / "straight").glob("tokens-*")).name)
    loss, steps = Lesson.loss, []

    def stop(lesson: Lesson, rng: np.random.Generator, batch: int) -> torch.Tensor:
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return loss(lesson, rng, batch)

    monkeypatch.setattr(Lesson, "loss", stop)
    with pytest.raises(KeyboardInterrupt):
        teach(folder / "stopped", start, clips, 5)
    monkeypatch.setattr(Lesson, "loss", loss)
    again = teach(folder / "stopped", start, clips, 5)
    assert all(torch.equal(value, again[name]) for name, value in straight.items())
    assert not torch.equal(straight["label_head.vote.weight"], load_start(start).state_dict()["label_head.vote.weight"])


def test_other_labels_are_learnt_and_explained_by_what_is_seen_and_heard(
    calm: tuple[Path, list[Clip]], nano: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, clips = calm
    start = open_folder(nano)
    network = network_of(start, taught_preset(start.preset, clips), seed=0)
    model, error = write_taught(start, network, folder / "model", {"clips": 6})
    assert model.preset.labels == ("calm", "tense") and error < 1e-4
    presence = ["--labels.presence", "0.0", "--reasoner.max_tokens", "24"]  # nobody is in a made-up clip
    assert cli.main(["analyze", str(folder / "clips/0.mp4"), "--model", str(model.root), "--format", "jsonl", "--explain", *presence]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(
        set(line["probabilities"]) == {"calm", "tense"} and line["probabilities"]["calm"] == pytest.approx(0.5, abs=0.05) for line in lines
    )
    said = next(line for line in lines if "explanation" in line)
    assert said["explanation"].startswith(f"The person seems {said['label']}:")
    assert cli.main(["analyze", str(folder / "clips/0.mp4"), "--model", str(model.root), "--format", "jsonl"]) == 0
    assert {json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()} == {"unknown"}


@pytest.mark.parametrize(
    ("labels", "held", "wrong"),
    [
        (("happy", "sad"), "angry", "row 4: no training clip has the label 'angry'"),
        (("Happy", "sad"), "sad", "the start spells the label 'Happy' as 'happy'"),
        (("unknown", "sad"), "sad", "a robot says so where nobody is seen"),
        (("</s>", "sad"), "sad", "must be plain text"),
        (("sad", "sad"), "sad", "have 1 label"),
    ],
)
def test_labels_that_cannot_be_are_refused(labels: tuple[str, str], held: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        taught_preset(NANO, [clip_of(label, number) for number, label in enumerate(labels)] + [clip_of(held, 2, "test")])


def clip_of(label: str, number: int, split: str = TRAIN, speaker: str = "") -> Clip:
    place = Provenance("own", "clips.csv", number + 2)
    return Clip(str(number), "own", split, Media(), place, speaker=speaker, labels={"emotion": (label,)})


@pytest.mark.parametrize(("option", "wrong"), [(("--head", "8"), "--head is for presets"), (("--stage", "face"), "leave out --stage face")])
def test_options_that_have_no_place_are_refused(option: tuple[str, str], wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--preset", "nano", "--csv", "clips.csv", *option]) == 2
    assert wrong in capsys.readouterr().err


def test_whole_speakers_are_held_apart_and_no_label_loses_its_last_clip() -> None:
    many = [clip_of("happy" if number % 3 else "sad", number, speaker=f"s{number % 10}") for number in range(60)]
    apart, why = held_apart(many, seed=1)
    assert not why and 12 <= apart.sum() <= 24
    held, kept = ({clip.speaker for clip, there in zip(many, apart, strict=True) if there == side} for side in (True, False))
    assert not held & kept
    for few in (
        many[:30],
        [dataclasses.replace(clip, speaker="") for clip in many],
        [dataclasses.replace(clip, speaker="a") for clip in many],
    ):
        none, why = held_apart(few, seed=1)
        assert not none.any() and "40 training clips of 4 speakers" in why


def test_a_temperature_is_the_best_for_the_clips_held_apart(nano: Path) -> None:
    start = open_folder(nano)
    network, rng = load_start(start), np.random.default_rng(0)
    sizes = {"frame_tokens": (64, 128), "scene_tokens": (16, 128), "scene_cls": (128,), "audio_tokens": (64, 128)}
    tensors = {name: torch.from_numpy(rng.standard_normal((30, *shape), np.float32)).half() for name, shape in sizes.items()}
    tensors |= {"frame_mask": torch.ones(30, 16).half(), "audio_mask": torch.zeros(30, 64).half()}
    clips = Tokens(tensors, np.arange(30), np.tile(np.array([1.0, 0.0], np.float32), (30, 1)))
    labels, before = logits_of(network, clips.rows(np.arange(30))).argmax(1).numpy(), network.label_head.temperatures.clone()
    labels[::3] = rng.integers(0, 7, 10)  # right two times in three, and one chance in seven
    fitted = fit_temperatures(network, clips, shown_of(clips, 30), labels, np.arange(30) >= 10)
    assert list(fitted) == ["video"] and torch.equal(network.label_head.temperatures[[0, 2, 3]], before[[0, 2, 3]])

    def loss(temperature: float) -> float:
        network.label_head.temperatures[1] = temperature
        chances = torch.softmax(logits_of(network, clips.rows(np.arange(10, 30))).double(), 1).numpy()
        return negative_log_likelihood(chances, labels[10:])

    assert loss(fitted["video"]) <= min(loss(0.7 * fitted["video"]), loss(1.4 * fitted["video"]), loss(1.0)) + 1e-6


def test_a_row_is_played_as_a_robot_would_have_met_it(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mkv", seconds=5)
    whole = list(windows_of(read_clip(tmp_path / "clip.mkv"), WindowAssembler(SPEC)))
    again = list(windows_in(Media(root=str(tmp_path), video="clip.mkv"), SPEC))
    assert len(whole) == len(again) == 5
    for one, other in zip(whole, again, strict=True):
        assert np.array_equal(one.samples, other.samples) and np.array_equal(one.audio_seen, other.audio_seen)
        assert [e and e.tick for e in one.frames] == [e and e.tick for e in other.frames]
    part = list(windows_in(Media(root=str(tmp_path), video="clip.mkv", start_seconds=2, end_seconds=4, side="right"), SPEC))
    assert [window.end_ns for window in part] == [10**9, 2 * 10**9]
    shown = [entry.frame.pixels for entry in part[-1].frames if entry]
    in_whole = {entry.tick: entry.frame.pixels for window in whole for entry in window.frames if entry}
    assert all(pixels.shape == (48, 32, 3) for pixels in shown) and np.array_equal(shown[0], in_whole[8][:, 32:])


def test_sound_of_its_own_replaces_a_videos(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mkv", seconds=3)
    write_clip(tmp_path / "other.flac", seconds=1.5, video=False)
    windows = list(windows_in(Media(root=str(tmp_path), video="clip.mkv", audio="other.flac"), SPEC))
    assert windows[-1].audio_seen.sum() == 6 and sum(entry is not None for entry in windows[-1].frames) == 9
    heard = list(windows_in(Media(root=str(tmp_path), audio="other.flac", start_seconds=1.0, end_seconds=1.5), SPEC))
    assert heard[-1].audio_seen.sum() <= 2, "without a video the part is one of the sound file"


def test_an_option_that_nano_s_own_recipe_would_pass_over_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--stage", "voice", "--steps", "10"]) == 2
    assert "--steps is for presets of the published kind and for a CSV of your own" in capsys.readouterr().err


@pytest.mark.parametrize(("count", "most"), [(0, 4), (1, 4), (5, 4), (100, 8), (1000, 8)])
def test_windows_of_a_long_clip_are_spread_over_it(count: int, most: int) -> None:
    made: list[int] = []
    kept = spread(range(count), lambda item: made.append(item) or item, most)  # type: ignore[arg-type]
    assert len(kept) == min(count, most) and len(made) <= 12 * most
    if count > 1:
        gaps = np.diff(kept)
        assert kept[0] == 0 and kept[-1] >= 0.85 * (count - 1) and gaps.max() <= 2.5 * max(1, gaps.min())
