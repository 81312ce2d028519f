"""Media: what a file holds comes out in order, upright, at one rate; a file that cannot be played says why."""

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from ros2_emollama.media import MediaError, SkippedFrame, read_clip
from ros2_emollama.types import AudioChunk, Frame
from tests.core.clips import turn_clockwise, write_clip


def split(path: Path, **options: object) -> tuple[list[Frame], np.ndarray, list[AudioChunk]]:
    items = list(read_clip(path, **options))  # type: ignore[arg-type]
    chunks = [item for item in items if isinstance(item, AudioChunk)]
    assert [item.stamp_ns for item in items] == sorted(item.stamp_ns for item in items)
    samples = np.concatenate([chunk.samples for chunk in chunks]) if chunks else np.zeros(0, np.float32)
    return [item for item in items if isinstance(item, Frame)], samples, chunks


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_a_clip_gives_its_frames_and_sound_with_stamps(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}")
    clip = read_clip(path)
    assert clip.has_video and clip.has_audio and clip.fps == 25.0 and clip.title == path.name
    assert clip.duration_seconds == pytest.approx(2.0, abs=0.05)
    frames, samples, chunks = split(path)
    assert [frame.stamp_ns for frame in frames] == [i * 40_000_000 for i in range(50)]
    assert frames[3].pixels.shape == (48, 64, 3) and abs(int(frames[3].pixels[24, 48, 0]) - 70) < 4
    assert [chunk.stamp_ns for chunk in chunks[:3]] == [0, 20_000_000, 40_000_000] and chunks[0].samples.size == 320
    assert samples.size == pytest.approx(2 * 16000, abs=1100) and samples.dtype == np.float32
    assert clip.damaged_packets == 0


def test_sound_is_mixed_and_resampled_without_a_shift(tmp_path: Path) -> None:
    _, samples, _ = split(write_clip(tmp_path / "tone.flac", video=False))
    expected = 0.25 * np.sin(2 * np.pi * 440.0 * np.arange(samples.size) / 16000)
    assert samples.size == 32000 and np.abs(samples - expected)[200:-200].max() < 1e-3


def test_pictures_come_upright(tmp_path: Path) -> None:
    frames, _, _ = split(turn_clockwise(write_clip(tmp_path / "phone.mp4", audio=False)))
    assert frames[10].pixels.shape == (64, 48, 3)
    assert frames[10].pixels[:30].max() < 20 < 100 < frames[10].pixels[34:].min()  # the left half is on top now


def test_pictures_are_scaled_down_to_fit_and_never_up(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", audio=False)
    assert split(path, fit=(32, 32))[0][0].pixels.shape == (24, 32, 3)
    assert split(path, fit=(640, 480))[0][0].pixels.shape == (48, 64, 3)


def test_frames_nobody_wants_are_told_and_not_converted(tmp_path: Path) -> None:
    items = list(read_clip(write_clip(tmp_path / "clip.mp4", audio=False)).items(lambda stamp_ns: stamp_ns % 200_000_000 == 0))
    assert sum(isinstance(item, Frame) for item in items) == 10 and sum(isinstance(item, SkippedFrame) for item in items) == 40


def test_a_clip_may_be_read_again(tmp_path: Path) -> None:
    clip = read_clip(write_clip(tmp_path / "clip.mp4"))
    assert [item.stamp_ns for item in clip] == [item.stamp_ns for item in clip] != []


@pytest.mark.parametrize(
    ("suffix", "start_ns"), [("mp4", 1_230_000_000), ("mkv", 700_000_000), ("avi", 1_990_000_000), ("mp4", 9_000_000_000)]
)
def test_play_from_a_place_gives_what_playing_through_to_it_gives(tmp_path: Path, suffix: str, start_ns: int) -> None:
    clip = read_clip(write_clip(tmp_path / f"clip.{suffix}"))
    expected = [item for item in clip if item.stamp_ns >= start_ns]
    given = list(clip.play(start_ns))
    assert [item.stamp_ns for item in given] == [item.stamp_ns for item in expected] and bool(given) == (start_ns < 2_000_000_000)
    for one, other in zip(given, expected, strict=True):
        field = "pixels" if isinstance(one, Frame) else "samples"
        assert np.array_equal(getattr(one, field), getattr(other, field))


def test_a_clip_that_cannot_be_entered_is_played_through_to_the_place(tmp_path: Path) -> None:
    """A bare stream of pictures has no stamps and no index."""
    path = tmp_path / "bare.m2v"
    with av.open(str(path), "w", format="mpeg2video") as container:
        stream = container.add_stream("mpeg2video", rate=25, width=64, height=48, pix_fmt="yuv420p")
        for number in range(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * number, np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    clip = read_clip(path)
    expected = [item for item in clip if isinstance(item, Frame) and item.stamp_ns >= 1_000_000_000]
    given = [item for item in clip.play(1_000_000_000) if isinstance(item, Frame)]
    assert len(given) > 20 and [item.stamp_ns for item in given] == [item.stamp_ns for item in expected]
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(given, expected, strict=True))


def test_a_still_picture_is_one_frame(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "face.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1, width=20, height=10, pix_fmt="rgb24")
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((10, 20, 3), 77, np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    clip = read_clip(tmp_path / "face.png")
    (frame,) = list(clip)
    assert isinstance(frame, Frame) and frame.stamp_ns == 0 and (frame.pixels == 77).all() and not clip.has_audio
    assert clip.duration_seconds == 0.0


def test_a_clip_without_one_stream_says_so(tmp_path: Path) -> None:
    silent, blind = read_clip(write_clip(tmp_path / "a.mp4", audio=False)), read_clip(write_clip(tmp_path / "b.mp4", video=False))
    assert (silent.has_video, silent.has_audio) == (True, False)
    assert (blind.has_video, blind.has_audio, blind.fps) == (False, True, 0.0)


def test_damage_is_counted_and_the_rest_still_plays(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", seconds=4.0)
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    for place in random.integers(len(content) // 4, len(content) * 3 // 4, 60):
        content[place] ^= 0xFF
    path.write_bytes(content)
    clip = read_clip(path)
    items = list(clip)
    assert clip.damaged_packets > 0 and len(items) > 50


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("clip.mp4", None, r"no such file: .*clip.mp4; did you mean clap.mp4\?"),
        ("text.mp4", b"no film at all" * 99, "text.mp4 is not a media file"),
        ("empty.mp4", b"", "empty.mp4 is not a media file"),
        (".", None, "is a folder"),
        ("nowhere/clip.mp4", None, "there is no folder"),
    ],
)
def test_a_file_that_cannot_be_played_says_why_and_what_to_do(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    (tmp_path / "clap.mp4").touch()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=message):
        read_clip(tmp_path / name)


def test_subtitles_alone_are_neither_picture_nor_sound(tmp_path: Path) -> None:
    path = tmp_path / "words.srt"
    path.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    with pytest.raises(MediaError, match="neither pictures nor sound"):
        read_clip(path)


@pytest.mark.parametrize("audio", [True, False])
def test_what_has_no_decoder_is_left_out(tmp_path: Path, audio: bool) -> None:
    path = write_clip(tmp_path / "c.mkv", seconds=0.5, audio=audio)
    content = path.read_bytes()
    assert content.count(b"V_MPEG4/ISO/ASP") == 1
    path.write_bytes(content.replace(b"V_MPEG4/ISO/ASP", b"V_MPEG9/ISO/ASP"))
    if audio:
        clip = read_clip(path)
        assert (clip.has_video, clip.has_audio) == (False, True) and sum(1 for _ in clip.items()) > 10
    else:
        with pytest.raises(MediaError, match="that can be decoded"):
            read_clip(path)


def test_sound_at_a_rate_no_microphone_has_is_damage_and_not_an_hour_of_sound(tmp_path: Path) -> None:
    path = tmp_path / "slow.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 4, 0, "NONE", ""))
        sound.writeframes(bytes(2 * 3200))
    clip = read_clip(path)
    with pytest.raises(MediaError, match="damaged"):
        list(clip.items())


def test_real_clips_play_to_their_end(data: Path) -> None:
    for path in sorted((data / "clips").iterdir())[-3:]:
        frames, samples, _ = split(path, fit=(320, 240))
        clip = read_clip(path)
        assert len(frames) / clip.fps == pytest.approx(clip.duration_seconds, abs=0.3)
        assert not clip.has_audio or samples.size > 16000 * 2


def test_sound_of_more_channels_than_a_frame_has_pointers_is_mixed(tmp_path: Path) -> None:
    path = tmp_path / "array.wav"
    rate, channels = 16000, 16
    samples = np.tile((np.arange(channels) - 3.5) * 100, (rate, 1)).astype("<i2")  # mean 400
    facts = ((16, 4), (1, 2), (channels, 2), (rate, 4), (rate * channels * 2, 4), (channels * 2, 2), (16, 2))
    body = b"WAVEfmt " + b"".join(value.to_bytes(width, "little") for value, width in facts)
    body += b"data" + samples.nbytes.to_bytes(4, "little") + samples.tobytes()
    path.write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    _, mono, _ = split(path)
    assert mono.size == rate and np.allclose(mono, 400 / 32768, atol=1e-6)
