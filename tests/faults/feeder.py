"""A camera and a microphone that can be told to fail: 30 pictures and 50 chunks of sound a second from a clip, in real time.

Started as a process of its own, so that what it costs is not counted for what it feeds. Commands come on standard input, a JSON object a
line; every key is optional:
    {"camera": MODE, "microphone": MODE, "shift_seconds": S, "camera_shift_seconds": S, "transcript": TEXT}
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import rclpy
from emollama.msg import AudioChunk as AudioChunkMessage
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String

from ros2_emollama.media import read_clip
from ros2_emollama.ros import conversions
from ros2_emollama.ros.share import use_large_messages
from ros2_emollama.types import AudioChunk, Frame, seconds_to_ns

RATE_HZ, CHUNK = 16000, 320
CHUNK_NS, PERIOD_NS = 20_000_000, 250_000_000
CLIP_SECONDS = (4.0, 10.0)  # of the demo clip: a face and a voice
CAMERAS = ("live", "off", "frozen", "blank", "short", "bad_step", "unknown_encoding", "huge", "flood")
MICROPHONES = ("live", "off", "hum", "zeros", "constant", "nan", "inf", "rates", "channels", "mp3", "odd")


def mp3_bytes(samples: np.ndarray) -> bytes:
    """A whole number of mp3 frames."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp3") as container:
        stream = container.add_stream("mp3", rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        for block in av.AudioResampler(format="s16p", layout="mono", rate=RATE_HZ, frame_size=576).resample(frame):
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    content = out.getvalue()
    start = content.find(b"\xff", 10 if content.startswith(b"ID3") else 0)
    return content[start:]


class Sensors:
    """What the sensors would send at a moment, broken as told."""

    def __init__(self, clip: Path) -> None:
        items = []
        for item in read_clip(clip, RATE_HZ, fit=(640, 480)).items():
            if item.stamp_ns > CLIP_SECONDS[1] * 1e9:
                break
            if item.stamp_ns >= CLIP_SECONDS[0] * 1e9:
                items.append(item)
        self.pictures = [item.pixels for item in items if isinstance(item, Frame)]
        noise = np.random.default_rng(0)
        self.sound = np.concatenate([item.samples for item in items if isinstance(item, AudioChunk)])
        self.sound = self.sound + noise.uniform(-1e-3, 1e-3, self.sound.size).astype(np.float32)  # a live microphone is never still
        self.hum = noise.uniform(-0.1, 0.1, RATE_HZ * PERIOD_NS // 10**9).astype(np.float32)
        self.mp3 = mp3_bytes(self.sound[:RATE_HZ])
        self.camera, self.microphone = "live", "live"

    def picture(self, number: int, stamp_ns: int) -> Image | None:
        if self.camera == "off":
            return None
        pixels = self.pictures[0 if self.camera == "frozen" else number % len(self.pictures)]
        if self.camera == "blank":
            pixels = np.full_like(pixels, 60)
        message = conversions.picture_to_message(Image(), pixels, stamp_ns, "camera")
        if self.camera == "short":
            message.data = message.data[: len(message.data) // 2]
        elif self.camera == "bad_step":
            message.step = 7
        elif self.camera == "unknown_encoding":
            message.encoding = "rgb565"
        elif self.camera == "huge":
            message.height = message.width = 2**31
        return message

    def chunk(self, number: int, stamp_ns: int) -> AudioChunkMessage | None:
        if self.microphone == "off":
            return None
        start = number * CHUNK % (self.sound.size - CHUNK)
        samples, rate = self.sound[start : start + CHUNK], RATE_HZ
        if self.microphone == "hum":
            samples = np.take(self.hum, np.arange(CHUNK) + stamp_ns % PERIOD_NS * RATE_HZ // 10**9, mode="wrap")
        elif self.microphone in ("zeros", "constant"):
            samples = np.full(CHUNK, 0.0 if self.microphone == "zeros" else 0.25, np.float32)
        elif self.microphone == "rates" and number // 50 % 2:
            samples, rate = np.repeat(samples, 3), 3 * RATE_HZ
        message = conversions.audio_to_message(AudioChunkMessage(), AudioChunk(stamp_ns, samples, rate))
        return self._broken(message, samples, number)

    def _broken(self, message: AudioChunkMessage, samples: np.ndarray, number: int) -> AudioChunkMessage:
        if self.microphone in ("nan", "inf"):
            bad = samples.astype(np.float32).copy()
            bad[number % CHUNK] = np.nan if self.microphone == "nan" else np.inf
            message.format, message.data = conversions.FORMAT_FLOAT32, bad.tobytes()
        elif self.microphone == "channels":
            message.channels = 2
            message.data = np.repeat((samples * 32767).astype("<i2"), 2).tobytes()
        elif self.microphone == "mp3":
            message.data = self.mp3[: len(self.mp3) // 2 * 2]
        elif self.microphone == "odd":
            message.data = message.data[:-1]
        return message


class Feeder(Node):
    """Publishes on two threads, one a sensor; `shift_ns` moves all stamps, as a clock that is set does."""

    def __init__(self, sensors: Sensors, reliability: str, clock: bool) -> None:
        super().__init__("feeder")
        self.sensors, self._clocked = sensors, clock
        self.shift_ns, self.camera_shift_ns = 0, 0
        offered = ReliabilityPolicy.RELIABLE if reliability == "reliable" else ReliabilityPolicy.BEST_EFFORT
        self._images = self.create_publisher(Image, "image_raw", QoSProfile(depth=5, reliability=offered))
        self._sounds = self.create_publisher(AudioChunkMessage, "audio", QoSProfile(depth=50, reliability=offered))
        self._transcripts = self.create_publisher(String, "transcript", 10)
        self._clock = self.create_publisher(Clock, "/clock", 10)
        self.ended = threading.Event()
        now = time.time_ns()
        self._base_ns = now + -now % PERIOD_NS + PERIOD_NS  # in step with the grid, so that a hum repeats from window to window
        for target in (self._see, self._hear):
            threading.Thread(target=target, daemon=True).start()

    def obey(self, command: dict[str, Any]) -> None:
        self.sensors.camera = command.get("camera", self.sensors.camera)
        self.sensors.microphone = command.get("microphone", self.sensors.microphone)
        self.shift_ns += seconds_to_ns(command.get("shift_seconds", 0.0))
        self.camera_shift_ns += seconds_to_ns(command.get("camera_shift_seconds", 0.0))
        if "transcript" in command:
            self._transcripts.publish(String(data=command["transcript"]))

    def _wait(self, due_ns: int) -> bool:
        return not self.ended.wait(max(0.0, (due_ns - time.time_ns()) * 1e-9))

    def _see(self) -> None:
        number, step_ns = 0, 1_000_000_000 // 30
        due_ns = self._base_ns
        while self._wait(due_ns):
            message = self.sensors.picture(number, due_ns + self.shift_ns + self.camera_shift_ns)
            if message is not None:
                self._images.publish(message)
            number += 1
            due_ns = max(due_ns + (step_ns // 4 if self.sensors.camera == "flood" else step_ns), time.time_ns() - step_ns)

    def _hear(self) -> None:
        number = 0
        while self._wait(self._base_ns + (number + 1) * CHUNK_NS):
            stamp_ns = self._base_ns + number * CHUNK_NS + self.shift_ns
            if self._clocked:
                clock = Clock()
                conversions.set_stamp(clock.clock, stamp_ns + CHUNK_NS)
                self._clock.publish(clock)
            message = self.sensors.chunk(number, stamp_ns)
            if message is not None:
                self._sounds.publish(message)
            number += 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="feeder", description=__doc__)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--reliability", choices=("reliable", "best_effort"), default="reliable")
    parser.add_argument("--clock", action="store_true", help="publish /clock as well")
    given = parser.parse_args()
    use_large_messages()
    sensors = Sensors(given.clip)
    rclpy.init()
    feeder = Feeder(sensors, given.reliability, given.clock)
    print("feeding", flush=True)
    for line in sys.stdin:  # ends with the process that started us
        feeder.obey(json.loads(line))
    feeder.ended.set()
    time.sleep(0.1)
    feeder.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
