"""Targets: serialized messages (CDR) with spoiled bytes, through rclpy and on to what reads them. Needs ROS and the built messages."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
from emollama.msg import AudioChunk as AudioChunkMessage
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from ros2_emollama.config import AudioConfig
from ros2_emollama.ros import conversions
from ros2_emollama.ros.bad_message import BadMessage
from ros2_emollama.ros.inputs import message_from
from ros2_emollama.ros.sounds import SoundReader
from ros2_emollama.types import AudioChunk
from tests.fuzz.engine import ACCEPTED, Target
from tests.fuzz.messages import STAMP_NS, coded_pictures, refused, try_coded_picture, try_picture
from tests.fuzz.mutation import spoiled
from tests.ros.mp3s import tone


@functools.cache
def _wire(kind: Any) -> bytes:
    if kind is Image:
        message = conversions.picture_to_message(Image(), np.full((8, 8, 3), 90, np.uint8), STAMP_NS, "camera")
    elif kind is CompressedImage:
        message = CompressedImage(format="jpeg", data=coded_pictures()[0])
    elif kind is AudioChunkMessage:
        message = conversions.audio_to_message(AudioChunkMessage(), AudioChunk(STAMP_NS, tone(0.02), 16000))
    else:
        message = String(data="good morning")
    data: bytes = serialize_message(message)
    return data


def bytes_of(kind: Any) -> Any:
    return lambda rng: spoiled(rng, _wire(kind), head=64)


def look(kind: Any) -> Any:
    def attempt(data: bytes) -> str:
        try:
            conversions.serialized_stamp_ns(data)
            message = message_from(data, kind)
        except BadMessage as error:
            return refused(error)
        return try_coded_picture(message) if kind is CompressedImage else try_picture(message)

    return attempt


def listen(data: bytes) -> str | None:
    try:
        message = message_from(data, AudioChunkMessage)
    except BadMessage as error:
        return refused(error)
    bad: list[BadMessage] = []
    chunks = SoundReader(AudioChunkMessage, AudioConfig(), bad.append).read(message, STAMP_NS)
    return ACCEPTED if chunks else refused(bad[0]) if bad else None


def read_words(data: bytes) -> str:
    try:
        message = message_from(data, String)
    except BadMessage as error:
        return refused(error)
    assert isinstance(message.data, str)
    return ACCEPTED


def targets() -> list[Target]:
    def one(name: str, share: float, kind: Any, attempt: Any) -> Target:
        return Target(f"wire: {name}", share, lambda rng: bytes_of(kind)(random.Random(rng.random())), attempt)

    return [
        one("Image", 4, Image, look(Image)),
        one("CompressedImage", 3, CompressedImage, look(CompressedImage)),
        one("AudioChunk", 3, AudioChunkMessage, listen),
        one("String", 2, String, read_words),
    ]
