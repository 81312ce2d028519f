"""Targets: pictures and sound as messages bring them."""

from __future__ import annotations

import array
import functools
import random
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from ros2_emollama.config import AudioConfig
from ros2_emollama.ros import conversions, mp3, pcm
from ros2_emollama.ros.bad_message import BadMessage
from ros2_emollama.ros.pictures import ENCODINGS, compressed_to_rgb, image_to_rgb
from ros2_emollama.ros.sounds import SoundReader
from ros2_emollama.types import AudioChunk
from tests.fuzz.engine import ACCEPTED, HELD, Target
from tests.fuzz.mutation import number, spoiled, text
from tests.ros.foreign.fields import KINDS, PORTAUDIO_NUMBERS, audio_info, own, portaudio, raw_audio, ros_drivers
from tests.ros.mp3s import encoded, tone

STAMP_NS = 1_700_000_000 * 10**9
RATES = (8000, 16000, 44100, 48000)


def refused(error: BadMessage) -> str:
    assert "; " in str(error), f"no cure in: {error}"
    return error.cause


def picture(rng: random.Random) -> SimpleNamespace:
    encoding = rng.choice(sorted(ENCODINGS))
    facts = ENCODINGS[encoding]
    height, width = rng.randrange(2, 24, 2), rng.randrange(2, 24, 2)
    step = width * facts.channels * np.dtype(facts.dtype).itemsize + rng.choice((0, 0, 0, 3, 16))
    data = rng.randbytes(step * height * facts.rows // 2)
    return SimpleNamespace(
        height=number(rng, height),
        width=number(rng, width),
        encoding=encoding if rng.random() < 0.85 else text(rng, sorted(ENCODINGS)),
        step=number(rng, step),
        is_bigendian=rng.choice((0, 0, 1, 255)),
        data=array.array("B", spoiled(rng, data) if rng.random() < 0.3 else data),
    )


def try_picture(message: SimpleNamespace) -> str:
    try:
        rgb = image_to_rgb(message)
    except BadMessage as error:
        return refused(error)
    assert rgb.shape == (message.height, message.width, 3) and rgb.dtype == np.uint8
    return ACCEPTED


@functools.cache
def coded_pictures() -> tuple[bytes, ...]:
    scene = np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    forms: tuple[tuple[str, list[int]], ...] = (
        (".jpg", []),
        (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
        (".png", []),
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 50]),
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    )
    alpha = np.dstack([scene, scene[..., 0]])
    pictures = [cv2.imencode(suffix, scene, options)[1].tobytes() for suffix, options in forms]
    others = [cv2.imencode(suffix, alpha)[1].tobytes() for suffix in (".png", ".webp")] + [cv2.imencode(".bmp", scene)[1].tobytes()]
    others += [cv2.imencode(".jpg", scene[..., 0])[1].tobytes(), cv2.imencode(".png", alpha.astype(np.uint16))[1].tobytes()]
    return (*pictures, *others)


def coded_picture(rng: random.Random) -> SimpleNamespace:
    data = spoiled(rng, rng.choice(coded_pictures()), head=rng.choice((0, 32, 200)))
    return SimpleNamespace(format=text(rng, ("jpeg", "png", "rgb8; jpeg compressed bgr8")), data=array.array("B", data))


def try_coded_picture(message: SimpleNamespace) -> str:
    try:
        rgb = compressed_to_rgb(message)
    except BadMessage as error:
        return refused(error)
    assert rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.dtype == np.uint8
    return ACCEPTED


def check_chunk(chunk: AudioChunk) -> None:
    assert chunk.samples.dtype == np.float32 and chunk.samples.ndim == 1 and chunk.samples.size
    assert float(np.abs(chunk.samples).max()) <= 1.0 and 4000 <= chunk.sample_rate_hz <= 384000


@functools.cache
def waves() -> tuple[bytes, ...]:
    samples = tone(0.02)
    return (
        (samples * 32767).astype("<i2").tobytes(),
        samples.astype("<f4").tobytes(),
        (samples * 127).astype("i1").tobytes(),
        encoded(tone(0.3))[:1152],
    )


def own_chunk(rng: random.Random) -> SimpleNamespace:
    kind = rng.choice((1, 2))
    data = spoiled(rng, waves()[kind - 1])
    return own(data, number(rng, rng.choice(RATES)), number(rng, 1, 8), number(rng, STAMP_NS, 62), number(rng, kind, 8))


def try_own_chunk(message: SimpleNamespace) -> str:
    try:
        check_chunk(conversions.audio_from_message(message))
    except BadMessage as error:
        return refused(error)
    return ACCEPTED


def samples(rng: random.Random) -> tuple[bytes, str, int, int]:
    kind = rng.choice(sorted(pcm.FORMATS)) if rng.random() < 0.95 else text(rng, sorted(pcm.FORMATS))
    data = spoiled(rng, rng.choice(waves())) if rng.random() < 0.7 else rng.randbytes(rng.randrange(600))
    return data, kind, number(rng, rng.choice((1, 1, 2, 4)), 31, signed=True), number(rng, rng.choice(RATES), 31, signed=True)


def try_samples(made: tuple[bytes, str, int, int]) -> str:
    try:
        mono = pcm.to_mono(*made)
    except BadMessage as error:
        return refused(error)
    check_chunk(AudioChunk(0, mono, made[3]))
    return ACCEPTED


def looks(rng: random.Random) -> bytes:
    return spoiled(rng, _mp3()[: rng.randrange(4000)], head=8) if rng.random() < 0.7 else rng.randbytes(rng.randrange(2000))


def try_looks(data: bytes) -> str:
    recogniser = mp3.Recogniser()
    recogniser.feed(data)
    assert isinstance(mp3.is_mp3(data), bool) and recogniser.mp3 in (None, True, False)
    assert not mp3.holds_mp3(data[-mp3.PROOF_BYTES :]) or recogniser.mp3
    return "mp3" if recogniser.mp3 else "not mp3"


@functools.cache
def _mp3() -> bytes:
    return encoded(tone(1.0)) + encoded(tone(0.3, 44100), 44100, channels=2)


def stream(package: str) -> Any:
    """A maker of one to eight messages of one topic, and what configures their reader."""

    def make(rng: random.Random) -> tuple[dict[str, Any], list[Any]]:
        config: dict[str, Any] = {}
        if rng.random() < 0.6:
            config["assume_format"] = rng.choice(("auto", "mp3", "S8", "U8", "S16LE", "S24LE", "F32LE"))
        count = rng.randrange(1, 9)
        if package.startswith("audio_common_msgs/AudioData"):
            return config, _bytes_stream(rng, package, count)
        return config, [_message(rng, package) for _ in range(count)]

    return make


def _message(rng: random.Random, package: str) -> Any:
    rate, channels, stamp = number(rng, rng.choice(RATES)), number(rng, 1), number(rng, STAMP_NS, 62)
    data = spoiled(rng, waves()[0])
    if package == "emollama/AudioChunk":
        return own_chunk(rng)
    if package == "foxglove_msgs/RawAudio":
        return raw_audio(data, rate, channels, stamp, text(rng, ("pcm-s16",)))
    field = rng.choice(sorted(PORTAUDIO_NUMBERS))
    values = np.frombuffer(data[: len(data) // 4 * 4], np.uint8)
    signed = (number(rng, value, 31, signed=True) for value in (rate & 0x7FFFFFFF, channels & 0x7FFFFFFF))
    chosen = number(rng, PORTAUDIO_NUMBERS[field], 31, signed=True)
    return portaudio(field, values, *signed, stamp if package.endswith("Stamped") else None, chosen)


def _bytes_stream(rng: random.Random, package: str, count: int) -> list[Any]:
    source = rng.choice((spoiled(rng, _mp3()), waves()[0] * 30, rng.randbytes(9000)))
    messages: list[Any] = []
    for _ in range(count):
        size = rng.choice((0, 1, 100, 288, 640, 1500, 5000))
        stamp = number(rng, STAMP_NS, 62) if package.endswith("Stamped") else None
        messages.append(ros_drivers(source[:size], stamp))
        source = source[size:]
    if rng.random() < 0.5:
        kind, coding = text(rng, sorted(pcm.FORMATS)), text(rng, ("wave", "mp3", "WAVE", "MP3", "flac", ""))
        messages.insert(rng.randrange(count), audio_info(kind, number(rng, 1, 8), number(rng, 16000), coding))
    return messages


def reading(package: str) -> Any:
    """Every message gives sound, a report of its cause, or is held; what is held is bounded."""

    def attempt(made: tuple[dict[str, Any], list[Any]]) -> str | None:
        bad: list[BadMessage] = []
        reader = SoundReader(KINDS[package], AudioConfig(**made[0]), bad.append)
        outcomes = []
        for i, message in enumerate(made[1]):
            if hasattr(message, "coding_format"):
                reader.tell(message)
                continue
            before = len(bad)
            chunks = reader.read(message, STAMP_NS + i * 20_000_000)
            for chunk in chunks:
                check_chunk(chunk)
            outcomes.append(refused(bad[-1]) if len(bad) > before else ACCEPTED if chunks else _held(reader))
        if not all(outcomes):
            return None
        return max(outcomes, key=lambda outcome: (outcome not in (ACCEPTED, HELD), outcome == ACCEPTED), default=ACCEPTED)

    return attempt


def _held(reader: SoundReader) -> str | None:
    inner: Any = reader._reader
    if not hasattr(inner, "_waiting"):
        return None
    assert sum(len(data) for data, _, _ in inner._waiting) < mp3.PROOF_BYTES
    return HELD if inner._waiting or inner._decoder is not None else None


TARGETS = [
    Target("picture", 16, picture, try_picture),
    Target("compressed picture", 12, coded_picture, try_coded_picture),
    Target("sound: AudioChunk", 12, own_chunk, try_own_chunk),
    Target("sound: samples", 16, samples, try_samples),
    Target("sound: is it mp3", 8, looks, try_looks),
    *(Target(f"topic: {name}", 2.4, stream(name), reading(name)) for name in KINDS),
]
