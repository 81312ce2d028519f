"""Bytes of sound become the samples that were meant, whatever their format; what is no sound is refused with its cause."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros2_emollama.ros import pcm
from ros2_emollama.ros.bad_message import BadMessage
from ros2_emollama.ros.mp3 import Decoder, Recogniser, frame_bytes, holds_mp3, is_mp3
from tests.ros.mp3s import cut, encoded, tone

EIGHTHS = np.array([-1.0, -0.5, -0.125, 0.0, 0.125, 0.75], np.float64)  # exact in every format


def stored_as(kind: str, values: np.ndarray) -> bytes:
    """Written from the formats' definitions, not with the code under test."""
    sign, bits, order = kind[0], int("".join(c for c in kind if c.isdigit())), "big" if kind.endswith("BE") else "little"
    if sign == "F":
        return values.astype((">" if order == "big" else "<") + f"f{bits // 8}").tobytes()
    offset = 1 << bits - 1 if sign == "U" else 0
    whole = (int(value * (1 << bits - 1)) + offset for value in values)
    return b"".join(number.to_bytes(bits // 8, order, signed=sign == "S") for number in whole)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", sorted(pcm.FORMATS))
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_every_format_gives_the_same_samples(kind: str, channels: int) -> None:
    samples = pcm.to_mono(stored_as(kind, EIGHTHS), kind, channels, 16000)
    assert samples.dtype == np.float32
    assert np.array_equal(samples, EIGHTHS.reshape(-1, channels).mean(axis=1).astype(np.float32))


@pytest.mark.parametrize(
    ("data", "kind", "channels", "rate_hz", "cause"),
    [
        (b"\0\0", "S16LE", 1, 3999, "audio_rate"),
        (b"\0\0", "S16LE", 1, 384001, "audio_rate"),
        (b"\0\0", "S16LE", 0, 16000, "audio_channels"),
        (b"\0\0", "S16LE", 65, 16000, "audio_channels"),
        (b"\0\0", "S16", 1, 16000, "audio_format"),
        (b"\0\0\0", "S16LE", 1, 16000, "audio_size"),
        (b"\0\0\0\0\0\0", "S24LE", 4, 16000, "audio_size"),
        (b"", "S16LE", 1, 16000, "audio_size"),
        (np.float64(1e300).tobytes(), "F64LE", 1, 16000, "audio_not_finite"),
        (np.float32(np.nan).tobytes(), "F32LE", 1, 16000, "audio_not_finite"),
    ],
)
def test_what_is_no_sound_says_why(data: bytes, kind: str, channels: int, rate_hz: int, cause: str) -> None:
    with pytest.raises(BadMessage) as caught:
        pcm.to_mono(data, kind, channels, rate_hz)
    assert caught.value.cause == cause


def test_mp3_is_never_read_as_samples() -> None:
    with pytest.raises(BadMessage) as caught:
        pcm.to_mono(encoded(tone())[:576], "S16LE", 1, 16000)
    assert caught.value.cause == "audio_coded"


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 24000, 32000, 44100, 48000])
def test_frames_of_every_rate_are_measured(rate_hz: int) -> None:
    data = encoded(tone(1.0, rate_hz), rate_hz)
    place, frames = 0, 0
    while place < len(data):
        size = frame_bytes(data[place : place + 4])
        assert size > 0
        place, frames = place + size, frames + 1
    assert place == len(data) and frames >= rate_hz // 1152
    assert is_mp3(data) and holds_mp3(data[7:7100])


@pytest.mark.parametrize("scale", [0.0005, 0.02, 0.5])
def test_samples_are_not_taken_for_mp3(scale: float) -> None:
    noise = np.random.default_rng(1).normal(0.0, scale, 400_000)
    data = (np.clip(noise, -1.0, 1.0) * 32767).astype("<i2").tobytes()
    assert not holds_mp3(data)
    recogniser = Recogniser()
    for start in range(0, 20_000, 640):
        recogniser.feed(data[start : start + 640])
    assert recogniser.mp3 is False


def test_a_stream_is_recognised_wherever_it_is_joined_and_forgotten_when_it_is_over() -> None:
    recogniser = Recogniser()
    for piece in cut(encoded(tone())[333:]):
        recogniser.feed(piece)
    assert recogniser.mp3 is True
    for start in range(0, 40_000, 640):
        recogniser.feed(np.full(320, start % 1000, "<i2").tobytes())
    assert recogniser.mp3 is False


@pytest.mark.parametrize("channels", [1, 2])
def test_a_decoded_tone_is_the_tone_that_was_encoded(channels: int) -> None:
    sent, decoder, runs = tone(2.0), Decoder(), []
    for piece in cut(encoded(sent, channels=channels)):
        found, damaged = decoder.decode(piece)
        assert damaged == 0
        runs += found
    assert {rate for _, rate in runs} == {16000}
    heard = np.concatenate([samples for samples, _ in runs])
    assert 0 <= heard.size - sent.size <= 2 * 576 + 1105 + 576  # whole frames, and the codec's own delay
    delay = max(range(heard.size - sent.size), key=lambda shift: float(heard[shift : shift + sent.size] @ sent))
    assert np.abs(heard[delay : delay + sent.size] - sent)[600:-600].max() < 0.04  # of 0.5; mp3 loses something


def test_a_stream_that_changes_its_rate_gives_runs_of_each() -> None:
    runs, damaged = Decoder().decode(encoded(tone(1.0)) + encoded(tone(1.0, 32000), 32000, channels=2) + encoded(tone(0.5)))
    assert [rate for _, rate in runs] == [16000, 32000, 16000] and damaged <= 2
    for (samples, rate), seconds in zip(runs, (1.0, 1.0, 0.5), strict=True):
        assert samples.size == pytest.approx(seconds * rate, abs=3500)


@given(
    st.binary(max_size=300),
    st.sampled_from(sorted(pcm.FORMATS)),
    st.integers(-1, 70),
    st.sampled_from([-1, 0, 4000, 16000, 384000, 2**31]),
)
def test_any_bytes_are_samples_or_a_refusal_with_a_cure(data: bytes, kind: str, channels: int, rate_hz: int) -> None:
    try:
        samples = pcm.to_mono(data, kind, channels, rate_hz)
    except BadMessage as error:
        assert error.cause.startswith("audio_") and "; " in str(error)
        return
    width = int("".join(c for c in kind if c.isdigit())) // 8
    assert samples.dtype == np.float32 and samples.size == len(data) // (width * channels)
    assert np.abs(samples).max() <= 1.0


@given(st.integers(0, 2000), st.integers(0, 1000), st.integers(0, 2**32 - 1))
def test_mp3_is_recognised_wherever_it_is_joined_and_however_it_is_cut(joined: int, noise: int, seed: int) -> None:
    recogniser = Recogniser()
    for piece in cut(np.random.default_rng(seed).bytes(noise) + encoded_tone()[joined:], seed):
        recogniser.feed(piece)
    assert recogniser.mp3 is True


@functools.cache
def encoded_tone() -> bytes:
    return encoded(tone(1.0))
