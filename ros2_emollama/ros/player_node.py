"""Plays a clip on topics as a camera and a microphone would: `image_raw` and `audio`. A node named `player`.

A picture leaves at its moment; sound leaves in 20 ms chunks, each when its last sample has been heard, stamped with its first. Stamps
run on the ROS clock from the start of play and keep the clip's own pace: `--rate` changes how fast it is played, not what they say.
Nothing is played before somebody listens to the pictures or the sound (`--wait`).
"""

from __future__ import annotations

import argparse
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rclpy
from emollama.msg import AudioChunk as AudioChunkMessage
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image

from ..media import Clip, MediaError, read_clip
from ..types import NANOSECONDS, AudioChunk, Frame
from . import conversions
from .running import Refused, run
from .share import use_large_messages

AHEAD = 24  # frames and chunks decoded ahead of their moment
CAMERA, MICROPHONE = "camera", "microphone"
LOOP_PAUSE_NS = NANOSECONDS // 30
PAUSE_SECONDS = 0.5  # between the end of the clip and leaving, so that the last messages are taken


@dataclass(frozen=True)
class PlayOptions:
    """How a clip is played. `seconds`: how much of it; `wait_seconds`: longest wait for a listener, 0 plays to nobody."""

    rate: float = 1.0
    loop: bool = False
    seconds: float = float("inf")
    wait_seconds: float = 20.0


def items(clip: Iterable[Frame | AudioChunk], loop: bool) -> Iterator[Frame | AudioChunk]:
    """Frames and chunks in the order of their stamps, which count from the start of play through all loops."""
    offset_ns = 0
    while True:
        end_ns = 0
        for item in clip:
            end_ns = max(end_ns, moment_ns(item))
            yield replace(item, stamp_ns=item.stamp_ns + offset_ns)
        if not loop or end_ns == 0:
            return
        offset_ns += end_ns + LOOP_PAUSE_NS


def moment_ns(item: Frame | AudioChunk) -> int:
    """When a sensor would deliver it."""
    return item.stamp_ns if isinstance(item, Frame) else item.end_ns


class PlayerNode(Node):
    """Publishes; `play` runs on a thread of its own and ends the process's ROS when the clip is over."""

    def __init__(self, clip: Clip, options: PlayOptions, **node_options: Any) -> None:
        super().__init__("player", **node_options)
        self.clip, self.options = clip, options
        self.error = ""
        self._images = self.create_publisher(Image, "image_raw", _offered(5))
        self._sounds = self.create_publisher(AudioChunkMessage, "audio", _offered(50))
        self._stop = threading.Event()
        self._ready: queue.Queue[Frame | AudioChunk | None] = queue.Queue(AHEAD)
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._decode, self._play)]
        for thread in self._threads:
            thread.start()

    def destroy_node(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=2.0)
        super().destroy_node()

    def _decode(self) -> None:
        try:
            for item in items(self.clip, self.options.loop):
                if item.stamp_ns * 1e-9 >= self.options.seconds or not self._put(item):
                    break
        except MediaError as error:
            self.error = str(error)
        self._put(None)

    def _put(self, item: Frame | AudioChunk | None) -> bool:
        """False once the player is stopped."""
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _play(self) -> None:
        if not self._await_listener():
            rclpy.try_shutdown()
            return
        self.get_logger().info(describe(self.clip))
        base_ns, started = self.get_clock().now().nanoseconds, time.monotonic()
        played = {Frame: 0, AudioChunk: 0}
        while (item := self._next()) is not None:
            due = started + moment_ns(item) * 1e-9 / self.options.rate
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            self._publish(item, base_ns)
            played[type(item)] += 1
        if not self.error:
            took = time.monotonic() - started
            self.get_logger().info(f"played {played[Frame]} pictures and {played[AudioChunk]} chunks of sound in {took:.1f} s")
        self._stop.wait(PAUSE_SECONDS)
        rclpy.try_shutdown()

    def _next(self) -> Frame | AudioChunk | None:
        while not self._stop.is_set():
            try:
                return self._ready.get(timeout=0.1)
            except queue.Empty:
                continue
        return None

    def _await_listener(self) -> bool:
        deadline = time.monotonic() + self.options.wait_seconds
        publishers = (self._images, self._sounds)
        while time.monotonic() < deadline and not all(publisher.get_subscription_count() for publisher in publishers):
            if self.error or self._stop.wait(0.05):
                return False
        if self.options.wait_seconds > 0 and not any(publisher.get_subscription_count() for publisher in publishers):
            waited = f"{self.options.wait_seconds:g} s"
            self.error = f"nobody listened within {waited}; start the perception node first, or play to nobody with --wait 0"
            return False
        return True

    def _publish(self, item: Frame | AudioChunk, base_ns: int) -> None:
        if isinstance(item, Frame):
            self._images.publish(conversions.picture_to_message(Image(), item.pixels, base_ns + item.stamp_ns, CAMERA))
            return
        message = conversions.audio_to_message(AudioChunkMessage(), replace(item, stamp_ns=base_ns + item.stamp_ns))
        message.header.frame_id = MICROPHONE
        self._sounds.publish(message)


def describe(clip: Clip) -> str:
    """What is about to be played, in one line."""
    pictures = f"pictures at {clip.fps:.4g} a second" if clip.has_video else "no pictures"
    return f"playing {clip.title!r}: {clip.duration_seconds:.1f} s, {pictures}, {'sound' if clip.has_audio else 'no sound'}"


def _offered(depth: int) -> QoSProfile:
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)  # reliable offers match every subscriber


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT, got {text!r}")
    return int(width), int(height)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0.0:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def parser() -> argparse.ArgumentParser:
    """The player's command line."""
    made = argparse.ArgumentParser(prog="player", description="Play a clip on image_raw and audio as a camera and a microphone would.")
    made.add_argument("--clip", type=Path, required=True, help="any file with pictures, sound or both")
    made.add_argument("--rate", type=_positive, default=1.0, help="speed of play, default 1.0")
    made.add_argument("--loop", action="store_true", help="begin again at the end")
    made.add_argument("--size", type=_size, default=(640, 480), metavar="WxH", help="largest picture, default 640x480")
    made.add_argument("--seconds", type=_positive, default=float("inf"), help="stop after this much of the clip")
    made.add_argument("--wait", type=float, default=20.0, help="longest wait for a listener in seconds, default 20")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    given = parser().parse_args(remove_ros_args(list(argv if argv is not None else sys.argv[1:])))
    options = PlayOptions(given.rate, given.loop, given.seconds, given.wait)
    use_large_messages()

    def started() -> PlayerNode:
        try:
            clip = read_clip(given.clip, fit=given.size)
        except MediaError as error:
            raise Refused(str(error)) from error
        return PlayerNode(clip, options)

    def finish(node: Node) -> int:
        assert isinstance(node, PlayerNode)
        if node.error:
            print(f"error: {node.error}", file=sys.stderr)
        return 2 if node.error else 0

    return run(started, argv, finish)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
