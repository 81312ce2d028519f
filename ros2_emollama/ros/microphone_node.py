"""A microphone on the topic `audio` (emollama/AudioChunk, int16, 20 ms chunks). A node named `microphone`, through PortAudio.

Stamps are those of the first sample: the converter's own time, carried over to the ROS clock, with jitter smoothed out and drift followed.
A microphone that is unplugged, ends or falls silent is said once in the log and on /diagnostics, and opened again by itself when it is
back. /diagnostics has a level meter; a signal that never changes (muted, unplugged) is a warning there.
Nothing is kept: a chunk is published and forgotten.
"""

from __future__ import annotations

import array
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from emollama.msg import AudioChunk as AudioChunkMessage

from ..config import MicrophoneConfig
from . import conversions, portaudio, qos
from .diagnostics import ERROR, OK, STALE, WARN
from .level import LevelMeter
from .portaudio import Block, Losses, Microphone
from .running import asked_for_help, run
from .sounds import Continuity
from .source import Health, SourceNode, finish
from .watch import STILL

DEPTH = 50  # a second of chunks


class MicrophoneNode(SourceNode[MicrophoneConfig]):
    """See the module's contract. ConfigError for an unknown parameter, Refused where PortAudio is not installed."""

    def __init__(self, **node_options: Any) -> None:
        self._sounddevice = portaudio.load()
        super().__init__(MicrophoneConfig(), **node_options)
        self._sounds = self.create_publisher(AudioChunkMessage, "audio", qos.offered(DEPTH), qos_overriding_options=qos.overrides())
        self._meter = LevelMeter()
        self._name = ""
        self._chunks, self._losses = 0, Losses()
        self._reported = (0, 0)  # chunks and losses at the last look
        self.start()

    def serve(self) -> None:
        if self.reason:  # it has failed
            portaudio.list_anew(self._sounddevice)
        config = self.config
        frames = round(config.sample_rate_hz * config.chunk_ms / 1000)
        microphone = Microphone(
            self._sounddevice, config.device, config.sample_rate_hz, config.channels, frames, self._losses, quiet=bool(self.reason)
        )
        self._name = microphone.name
        try:
            self._listen(microphone)
        finally:
            microphone.close()

    def _listen(self, microphone: Microphone) -> None:
        continuity, expected = Continuity(), 0
        while not self.stopped():
            block = microphone.next()
            if block is None:
                continue
            if not expected:
                self.live(f"{microphone.name!r}, {self.config.sample_rate_hz} Hz, {self.config.channels} channel(s)")
            if block.number != expected:  # blocks were dropped, and time went on
                continuity = Continuity()
            expected = block.number + 1
            self._publish(block, continuity)

    def _publish(self, block: Block, continuity: Continuity) -> None:
        config = self.config
        age_ns = time.monotonic_ns() - block.heard_ns
        samples = np.frombuffer(block.data, np.int16).reshape(-1, config.channels)
        message = AudioChunkMessage(sample_rate=config.sample_rate_hz, channels=config.channels, format=AudioChunkMessage.FORMAT_INT16)
        message.header.frame_id = config.frame_id
        heard_ns = self.get_clock().now().nanoseconds - age_ns
        conversions.set_stamp(message.header.stamp, continuity.place(heard_ns, len(samples), config.sample_rate_hz))
        message.data = array.array("B", block.data)
        self._sounds.publish(message)
        self._meter.add(samples)
        self._chunks += 1

    def look(self, seconds: float) -> Health:
        level, lost = self._meter.take(), self._losses.total
        fresh, fresh_lost = self._chunks - self._reported[0], lost - self._reported[1]
        self._reported = (self._chunks, lost)
        values = [
            ("name", self._name),
            ("sample_rate_hz", str(self.config.sample_rate_hz)),
            ("channels", str(self.config.channels)),
            ("rms_dbfs", f"{level.rms_dbfs:.1f}"),
            ("peak_dbfs", f"{level.peak_dbfs:.1f}"),
            ("chunks_per_second", f"{fresh / max(seconds, 1e-3):.1f}"),
            ("chunks", str(self._chunks)),
            ("overflows", str(self._losses.overflows)),
            ("dropped_chunks", str(self._losses.blocks)),
        ]
        return Health(*self._judge(fresh, fresh_lost, level.still), values)

    def _judge(self, fresh: int, lost: int, still: bool) -> tuple[bytes, str]:
        if self.reason:
            return ERROR, self.reason
        if not fresh:
            return (STALE, "nothing came since the last report") if self._chunks else (OK, "opening")
        if lost:
            return WARN, f"{lost} losses since the last report; the machine is too busy, or chunk_ms too short"
        if still:
            return WARN, STILL
        return OK, "live"


def main(argv: Sequence[str] | None = None) -> int:
    """`ros2 run emollama microphone`; parameters: config/microphone.yaml."""
    if asked_for_help(argv, __doc__, MicrophoneConfig):
        return 0
    return run(MicrophoneNode, argv, finish)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
