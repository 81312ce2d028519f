"""Features are computed once, go on after a stop, are checked, and are the same online, here and on a cluster."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydantic")
soundfile = pytest.importorskip("soundfile")

from ros2_emollama.media import MediaError  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.datasets import find_set  # noqa: E402
from training.datasets.read import read_set  # noqa: E402
from training.fabricate import RATE_HZ, Studio, colour_of, fabricate, pitch_of, tones  # noqa: E402
from training.features import Arrays, Online, ShardWorker, Stored, compute, read_entries  # noqa: E402
from training.features_clip import choose, views_of  # noqa: E402
from training.features_encoders import RELEASED, Released, RuntimeEncoder  # noqa: E402
from training.records import Clip, Media, Provenance, Sample  # noqa: E402

CLIPS = [Clip(f"c{i}", "meld", "train", Media("/nowhere", video="x.mp4"), Provenance("fabricated", "x.csv", i + 2)) for i in range(11)]


def encode(record: Clip | Sample) -> Arrays:
    """A record's number as its features; c3 cannot be encoded."""
    if record.id == "c3":
        raise MediaError("c3.mp4 is cut off; copy it again")
    number = int(record.id[1:])
    return {"frames": np.full((4, 8), number, np.float32), "audio": np.arange(6, dtype=np.float32) + number}


def test_stored_features_are_those_that_were_computed_and_online_gives_the_same(tmp_path: Path) -> None:
    failed = compute(CLIPS, lambda: encode, "fake 1", tmp_path, per_shard=4)
    assert failed == {"meld/c3": "MediaError: c3.mp4 is cut off; copy it again"}
    stored, online = Stored(tmp_path, check=True), Online(encode)
    assert len(stored) == 10 and stored.encoder == "fake 1" and len(list(read_entries(tmp_path))) == 3
    for clip in CLIPS[:3] + CLIPS[4:]:
        got, made = stored.of(clip), online.of(clip)
        assert set(got) == set(made) == {"frames", "audio"}
        for name in got:
            np.testing.assert_array_equal(got[name], made[name])
    with pytest.raises(KeyError, match=r"c3\.mp4 is cut off"):
        stored.of(CLIPS[3])
    with pytest.raises(KeyError, match="not among the clips"):
        stored.of(dataclasses.replace(CLIPS[0], id="c99"))


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    asked: list[str] = []

    def stopping(record: Clip | Sample) -> Arrays:
        asked.append(record.id)
        if record.id == "c6":
            raise KeyboardInterrupt
        return encode(record)

    with pytest.raises(KeyboardInterrupt):
        compute(CLIPS, lambda: stopping, "fake 1", tmp_path, per_shard=4)
    assert [entry.number for entry in read_entries(tmp_path)] == [0]
    asked.clear()

    def noting(record: Clip | Sample) -> Arrays:
        asked.append(record.id)
        return encode(record)

    assert compute(CLIPS, lambda: noting, "fake 1", tmp_path, per_shard=4).keys() == {"meld/c3"}
    assert asked == [f"c{i}" for i in range(4, 11)], "the first shard stands"
    assert compute(CLIPS, lambda: pytest.fail("nothing is left to do"), "fake 1", tmp_path, per_shard=4).keys() == {"meld/c3"}
    assert compute(CLIPS, lambda: lambda _: {"audio": np.ones(2)}, "fake 1", tmp_path, per_shard=4, retry=True) == {}
    assert set(Stored(tmp_path).of(CLIPS[3])) == {"audio"} and set(Stored(tmp_path).of(CLIPS[4])) == {"frames", "audio"}


def test_a_damaged_shard_is_told_and_made_again(tmp_path: Path) -> None:
    compute(CLIPS, lambda: encode, "fake 1", tmp_path, per_shard=4)
    path = tmp_path / "features-00001.safetensors"
    good = path.read_bytes()
    damaged = bytearray(good)
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"features-00001\.safetensors is not what was written; delete features-00001\.json"):
        Stored(tmp_path, check=True)
    compute(CLIPS, lambda: encode, "fake 1", tmp_path, per_shard=4)
    assert path.read_bytes() == good and len(Stored(tmp_path, check=True)) == 10
    path.write_bytes(good[:-8])
    with pytest.raises(ValueError, match="is not what was written"):
        Stored(tmp_path)


def test_features_of_another_encoder_are_not_mixed_in(tmp_path: Path) -> None:
    compute(CLIPS, lambda: encode, "fake 1", tmp_path)
    with pytest.raises(ValueError, match="holds features of fake 1, asked for is fake 2; give another folder"):
        compute(CLIPS, lambda: encode, "fake 2", tmp_path)
    with pytest.raises(FileNotFoundError, match="python -m training features"):
        Stored(tmp_path / "empty")


def test_other_clips_make_their_shard_again(tmp_path: Path) -> None:
    compute(CLIPS, lambda: encode, "fake 1", tmp_path, per_shard=4)
    compute(CLIPS[1:], lambda: encode, "fake 1", tmp_path, per_shard=4)
    stored = Stored(tmp_path, check=True)
    with pytest.raises(KeyError):
        stored.of(CLIPS[0])
    np.testing.assert_array_equal(stored.of(CLIPS[10])["audio"], np.arange(6) + 10)


def test_what_float16_cannot_hold_is_refused_and_float32_takes_it(tmp_path: Path) -> None:
    def large(record: Clip | Sample) -> Arrays:
        return {"frames": np.full((2, 2), 1e6, np.float32)}

    with pytest.raises(ValueError, match="meld/c0: frames is not finite as float16; store it as float32"):
        compute(CLIPS[:1], lambda: large, "large", tmp_path)
    compute(CLIPS[:1], lambda: large, "large", tmp_path, dtype="float32")
    assert Stored(tmp_path).of(CLIPS[0])["frames"].max() == 1e6


def test_a_worker_takes_a_batch_as_ray_data_gives_it(tmp_path: Path) -> None:
    """Columns as arrays of one: the worker that runs on a cluster is the one that runs here."""
    from training.records import to_json

    lines = "\n".join(map(to_json, CLIPS[:4]))
    here, there = tmp_path / "here", tmp_path / "there"
    compute(CLIPS[:4], lambda: encode, "fake 1", here)
    there.mkdir()
    worker = ShardWorker(lambda: encode, "fake 1", str(there))
    result = worker({"number": np.array([0]), "clips": np.array([lines], dtype=object)})
    assert result["number"] == [0] and "c3.mp4 is cut off" in result["failed"][0]
    for name in ("features-00000.safetensors", "features-00000.json"):
        assert (here / name).read_bytes() == (there / name).read_bytes()


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is there")
def test_a_cluster_without_ray_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"pip install 'ros2-emollama\[cluster\]'"):
        compute(CLIPS, lambda: encode, "fake 1", tmp_path, cluster="local")


def test_ray_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    for name, cluster in (("here", ""), ("there", "local")):
        assert compute(CLIPS, lambda: encode, "fake 1", tmp_path / name, per_shard=4, cluster=cluster).keys() == {"meld/c3"}
    files = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "there").iterdir())
    assert all((tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes() for name in files)


def test_frames_are_chosen_as_the_paper_and_as_the_code_do() -> None:
    assert choose(31, 16, "uniform", random.Random(0)) == list(range(0, 31, 2))
    assert choose(1, 4, "uniform", random.Random(0)) == [0] * 4 and choose(0, 16, "uniform", random.Random(0)) == []
    assert choose(10, 16, "window", random.Random(0)) == choose(10, 16, "uniform", random.Random(0)), "a short clip is taken whole"
    windows = [choose(40, 16, "window", random.Random(seed)) for seed in range(200)]
    assert all(np.diff(window).tolist() == [1] * 15 for window in windows)
    assert min(window[0] for window in windows) == 0 and max(window[-1] for window in windows) == 39


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trees")


def clips_of(name: str, trees: Path, layout: str) -> list[Clip]:
    return list(read_set(find_set(name), fabricate(name, trees / layout, layout), layout=layout))  # type: ignore[arg-type]


def hue_is(pixels: np.ndarray, tone: int) -> bool:
    mean = pixels.reshape(-1, 3).mean(axis=0)
    return bool(np.allclose(mean / mean.max(), np.array(colour_of(tone)) / max(colour_of(tone)), atol=0.08))


def pitch(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * RATE_HZ / len(samples))


def test_views_are_the_clips_own_pictures_and_sound(trees: Path) -> None:
    for clip in clips_of("caer", trees, "mmeverse")[:3]:
        tone = tones()[clip.label("emotion")]
        views = views_of(clip)
        assert len(views.frames) == 16 and views.scene is not None and views.samples is not None
        assert all(hue_is(frame, tone) for frame in (*views.frames, views.scene))
        assert pitch(views.samples) == pytest.approx(pitch_of(tone), abs=2) and len(views.samples) == pytest.approx(RATE_HZ, rel=0.1)
        brightness = [frame.mean() for frame in views.frames]
        assert brightness == sorted(brightness) and brightness[0] < 0.6 * brightness[-1], "in time's order, first and last among them"


def test_the_scene_is_the_peak_or_else_the_middle(trees: Path) -> None:
    clip = clips_of("caer", trees, "mmeverse")[0]

    def brightness(peak: int | None) -> float:
        scene = views_of(dataclasses.replace(clip, media=dataclasses.replace(clip.media, peak_frame=peak))).scene
        assert scene is not None
        return float(scene.mean())

    assert brightness(0) < brightness(4) < brightness(7)
    assert brightness(None) == brightness(99) == brightness(4)


def test_a_turn_of_a_dialogue_is_its_part_and_its_half_of_the_picture(trees: Path) -> None:
    clip = clips_of("iemocap", trees, "original")[0]
    media = dataclasses.replace(clip.media, start_seconds=0.5, end_seconds=0.8)
    part, whole = views_of(dataclasses.replace(clip, media=media)), views_of(clip)
    assert whole.frames[0].shape == (64, 32, 3), "half of 64 columns"
    assert part.frames[0].mean() > 1.3 * whole.frames[0].mean(), "the colour grows brighter, so half a second on it is"
    assert part.samples is not None and len(part.samples) == round(0.3 * RATE_HZ)


def test_of_a_sound_file_alone_the_part_is_taken_and_beside_a_video_it_is_the_part(tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(0.0, 0.9, 20, dtype=np.float32), RATE_HZ // 10)
    soundfile.write(tmp_path / "voice.wav", ramp, RATE_HZ)
    alone = Media(str(tmp_path), audio="voice.wav", start_seconds=1.0, end_seconds=1.5)
    part = views_of(dataclasses.replace(CLIPS[0], media=alone)).samples
    assert part is not None and len(part) == RATE_HZ // 2 and part.min() > 0.4
    Studio(tmp_path).video(tmp_path / "people.mp4", 2, sound=False)
    beside = views_of(dataclasses.replace(CLIPS[0], media=dataclasses.replace(alone, video="people.mp4"))).samples
    assert beside is not None and len(beside) == RATE_HZ // 2 and beside.max() < 0.3


def test_of_several_people_only_the_one_in_the_box_is_seen(tmp_path: Path) -> None:
    Studio(tmp_path).video(tmp_path / "people.mp4", 2, sound=False)
    boxed = Media(str(tmp_path), video="people.mp4", box=(10.0, 5.0, 20.0, 30.0))
    views = views_of(dataclasses.replace(CLIPS[0], media=boxed))
    assert {picture.shape for picture in (*views.frames, views.scene) if picture is not None} == {(30, 20, 3)}


def test_a_picture_gives_a_scene_alone_and_a_broken_clip_an_error_with_its_name(trees: Path, tmp_path: Path) -> None:
    picture = views_of(clips_of("gqa", trees, "original")[0])
    assert picture.frames == () and picture.samples is None and picture.scene is not None and hue_is(picture.scene, 0)
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(MediaError, match=r"x\.mp4"):
        views_of(dataclasses.replace(CLIPS[0], media=Media(str(tmp_path), video="x.mp4")))


def test_a_clip_without_sound_has_frames_and_no_audio(tmp_path: Path) -> None:
    Studio(tmp_path).video(tmp_path / "mute.mp4", 2, sound=False)
    views = views_of(dataclasses.replace(CLIPS[0], media=Media(str(tmp_path), video="mute.mp4")))
    assert len(views.frames) == 16 and views.samples is None


def test_a_model_folders_encoders_give_every_stream_the_clip_has(trees: Path, some_model_folder: Path, tmp_path: Path) -> None:
    from ros2_emollama.model.folder import open_folder
    from ros2_emollama.runtime.factory import open_runtime

    folder = open_folder(some_model_folder)
    encoders, _ = open_runtime(folder, "onnxruntime", 1, with_language=False)
    preset = folder.preset
    encoder = RuntimeEncoder(preset, encoders, ("frames", "scene", "audio"))
    arrays = encoder(clips_of("caer", trees, "mmeverse")[0])
    width = preset.vision.width
    assert arrays["frames"].shape == (preset.frame_tokens, width) and arrays["scene_cls"].shape == (width,)
    assert arrays["scene"].shape == (preset.vision.scene_grid**2, width)
    assert arrays["audio"].shape == (preset.audio.tokens, preset.audio.width)
    assert 0 < arrays["audio_mask"].sum() < preset.audio.tokens, "a second of sound in a window of four"
    assert set(encoder(clips_of("gqa", trees, "original")[0])) == {"scene", "scene_cls"}
    with pytest.raises(ValueError, match="no stream is called smell"):
        RuntimeEncoder(preset, encoders, ("smell",))


def test_features_is_a_command_that_goes_on(
    trees: Path, some_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = fabricate("cmu_mosi", trees / "original")
    (root / "Raw/fab2/1.mp4").unlink()
    assert main(["index", "--datasets", f"cmu_mosi={root}", "--output", str(tmp_path / "index")]) == 0
    (root / "Raw/fab3/1.mp4").unlink()  # after it was indexed
    wanted = ["features", "--index", str(tmp_path / "index"), "--output", str(tmp_path / "features"), "--model", str(some_model_folder)]
    assert main(wanted) == 0 and main([*wanted, "--strict"]) == 2
    told = capsys.readouterr().out
    assert "features of 4 of 5 clips" in told and "cmu_mosi/fab3_1: MediaError" in told
    assert len(Stored(tmp_path / "features", check=True)) == 4


def test_mmeverses_released_features_are_read_and_others_refused(tmp_path: Path) -> None:
    clip = dataclasses.replace(CLIPS[0], media=Media(str(tmp_path), video="video/c0.mp4"))
    with pytest.raises(KeyError, match="unpack MMEVerse's features"):
        Released().of(clip)
    rng = np.random.default_rng(0)
    for name, (_, tokens, width) in RELEASED.items():
        path = tmp_path / "features" / name / "c0.npy"
        path.parent.mkdir(parents=True)
        np.save(path, rng.normal(size=(1, tokens, width)).astype(np.float32))
    assert {name: array.shape for name, array in Released().of(clip).items()} == {"frames": (64, 1408), "audio": (64, 1280)}
    path = tmp_path / "features" / "EVA-ViT-G" / "c0.npy"
    for bad in (np.zeros((1, 64, 1280), np.float32), np.full((1, 64, 1408), np.nan), np.array([{}], dtype=object)):
        np.save(path, bad, allow_pickle=True)
        with pytest.raises(ValueError, match=r"EVA-ViT-G/c0\.npy .*unpack it again"):
            Released().of(clip)


def test_shards_count_up(tmp_path: Path) -> None:
    compute(itertools.islice(CLIPS, 11), lambda: encode, "fake 1", tmp_path, per_shard=1)
    assert [path.name for path in sorted(tmp_path.glob("*.safetensors"))][-1] == "features-00010.safetensors"
