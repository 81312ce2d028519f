"""Plays a clip on topics as a camera and a microphone would: `image_raw` and `audio`. A node named `player`.

A picture leaves at its moment; sound leaves in 20 ms chunks, each when its last sample has been heard, stamped with its first. Stamps
run on the ROS clock from the start of play and keep the clip's own pace: `--rate` changes how fast it is played, not what they say.
Nothing is played before somebody listens to the pictures or the sound (`--wait`).

Services: `~/pause` (std_srvs/SetBool) holds and goes on, `~/seek` (emollama/Seek) goes to another place of the clip. Stamps then go on at
the present: there is a gap in them, and never a step back.
"""

from __future__ import annotations

import argparse
import queue
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emollama.msg import AudioChunk as AudioChunkMessage
from emollama.srv import Seek
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from ..media import Clip, MediaError, read_clip
from ..types import AudioChunk, Frame, seconds_to_ns
from . import conversions, qos
from .playhead import Playhead, items
from .running import Refused, run
from .share import use_large_messages

AHEAD = 24  # frames and chunks decoded ahead of their moment
CAMERA, MICROPHONE = "camera", "microphone"
PAUSE_SECONDS = 0.5  # between the end of the clip and leaving, so that the last messages are taken


@dataclass(frozen=True)
class PlayOptions:
    """How a clip is played. `start_seconds`: from where; `seconds`: how much of it, counted anew from a seek; `wait_seconds`: longest wait
    for a listener, 0 plays to nobody; `wait_topic`: a topic that must have a publisher and a subscriber as well before play begins."""

    rate: float = 1.0
    loop: bool = False
    seconds: float = float("inf")
    wait_seconds: float = 20.0
    start_seconds: float = 0.0
    wait_topic: str = ""


@dataclass(frozen=True)
class Cued:
    """What is next; `item` is None at the end. `pass_number`: a seek begins a new pass, and what an old one decoded is not played."""

    pass_number: int
    item: Frame | AudioChunk | None


class PlayerNode(Node):
    """Publishes; `play` runs on a thread of its own and ends the process's ROS when the clip is over."""

    def __init__(self, clip: Clip, options: PlayOptions, **node_options: Any) -> None:
        super().__init__("player", **node_options)
        self.clip, self.options = clip, options
        self.error = ""
        self._images = self.create_publisher(Image, "image_raw", qos.offered(5))
        self._sounds = self.create_publisher(AudioChunkMessage, "audio", qos.offered(50))
        self.create_service(SetBool, "~/pause", self._on_pause)
        self.create_service(Seek, "~/seek", self._on_seek)
        self._stop = threading.Event()
        self._ready: queue.Queue[Cued] = queue.Queue(AHEAD)
        self._changed = threading.Condition()  # guards what follows
        self._playhead = Playhead(options.rate)
        self._pass, self._start_ns = 0, seconds_to_ns(options.start_seconds)
        self._paused = self._over = False
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._decode, self._play)]
        for thread in self._threads:
            thread.start()

    def destroy_node(self) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=2.0)
        super().destroy_node()

    # Services, on the executor's thread.

    def _on_pause(self, request: Any, response: Any) -> Any:
        with self._changed:
            self._paused = bool(request.data)
            if self._paused:
                self._playhead.halt(time.monotonic())
            response.success = not self._over
            response.message = "the clip is over" if self._over else "paused" if self._paused else "playing"
            self._changed.notify_all()
        return response

    def _on_seek(self, request: Any, response: Any) -> Any:
        why_not = refusal(self.clip, request.seconds)
        with self._changed:
            if self._over:
                why_not = "the clip is over; start the player again"
            if not why_not:
                self._pass, self._start_ns = self._pass + 1, seconds_to_ns(request.seconds)
                self._changed.notify_all()
        response.success = not why_not
        response.message = why_not or f"playing from {request.seconds:.3f} s of {self.clip.duration_seconds:.3f} s"
        return response

    # Decoding, ahead of play, on a thread of its own.

    def _decode(self) -> None:
        while not self._stop.is_set():
            with self._changed:
                number, start_ns = self._pass, self._start_ns
            try:
                for item in items(self.clip.play, self.options.loop, start_ns):
                    if (item.stamp_ns - start_ns) * 1e-9 >= self.options.seconds or not self._put(Cued(number, item)):
                        break
            except MediaError as error:
                self.error = str(error)
            self._put(Cued(number, None))
            with self._changed:
                self._changed.wait_for(lambda number=number: self._pass != number or self._stop.is_set())  # type: ignore[misc]

    def _put(self, cued: Cued) -> bool:
        """False once the player is stopped, or has gone elsewhere."""
        while not self._stop.is_set() and cued.pass_number == self._pass:
            try:
                self._ready.put(cued, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    # Play, on a thread of its own.

    def _play(self) -> None:
        if not self._await_listener():
            self.context.try_shutdown()
            return
        self.get_logger().info(describe(self.clip))
        started = time.monotonic()
        played = {Frame: 0, AudioChunk: 0}
        begun = -1
        while not self._over:
            cued = self._next()
            if cued is None:
                return
            begun = self._await_moment(cued, begun)
            if begun == cued.pass_number and cued.item is not None and not self._stop.is_set():
                self._publish(self._playhead.stamped(cued.item))
                played[type(cued.item)] += 1
        if not self.error:
            took = time.monotonic() - started
            self.get_logger().info(f"played {played[Frame]} pictures and {played[AudioChunk]} chunks of sound in {took:.1f} s")
        self._stop.wait(PAUSE_SECONDS)
        self.context.try_shutdown()

    def _next(self) -> Cued | None:
        while not self._stop.is_set():
            try:
                return self._ready.get(timeout=0.1)
            except queue.Empty:
                continue
        return None

    def _await_moment(self, cued: Cued, begun: int) -> int:
        """Return when it is due, or when it will not be played: the player stops, or a seek has come. `begun` is the pass that plays."""
        with self._changed:
            while cued.pass_number == self._pass and not self._stop.is_set():
                if begun != cued.pass_number:  # only now that it is decoded: it must not be late already
                    self._playhead.move(self._start_ns)
                    begun = cued.pass_number
                wait = None
                if not self._paused:
                    now = time.monotonic()
                    self._playhead.go(now, self.get_clock().now().nanoseconds)
                    wait = self._playhead.wait_seconds(cued.item, now) if cued.item is not None else 0.0
                    if wait <= 0.0:
                        self._over = cued.item is None
                        return begun
                self._changed.wait(wait)
        return -1

    def _await_listener(self) -> bool:
        deadline = time.monotonic() + self.options.wait_seconds
        publishers = (self._images, self._sounds)
        while time.monotonic() < deadline and not self._heard():
            if self.error or self._stop.wait(0.05):
                return False
        if self.options.wait_seconds > 0 and not any(publisher.get_subscription_count() for publisher in publishers):
            waited = f"{self.options.wait_seconds:g} s"
            self.error = f"nobody listened within {waited}; start the perception node first, or play to nobody with --wait 0"
            return False
        return True

    def _heard(self) -> bool:
        topic = self.options.wait_topic
        told = not topic or (self.count_publishers(topic) and self.count_subscribers(topic))
        return bool(told) and all(publisher.get_subscription_count() for publisher in (self._images, self._sounds))

    def _publish(self, item: Frame | AudioChunk) -> None:
        if isinstance(item, Frame):
            self._images.publish(conversions.picture_to_message(Image(), item.pixels, item.stamp_ns, CAMERA))
            return
        message = conversions.audio_to_message(AudioChunkMessage(), item)
        message.header.frame_id = MICROPHONE
        self._sounds.publish(message)


def refusal(clip: Clip, seconds: float) -> str:
    """Why play cannot go there; empty when it can."""
    if seconds == 0.0 or 0.0 < seconds < clip.duration_seconds:
        return ""
    if clip.duration_seconds == 0.0:
        return f"cannot play from {seconds:g} s: {clip.title!r} does not say how long it is; only 0.0 can be gone to"
    return f"cannot play from {seconds:g} s: {clip.title!r} is {clip.duration_seconds:.3f} s long; give a place in it"


def describe(clip: Clip) -> str:
    """What is about to be played, in one line."""
    pictures = f"pictures at {clip.fps:.4g} a second" if clip.has_video else "no pictures"
    return f"playing {clip.title!r}: {clip.duration_seconds:.1f} s, {pictures}, {'sound' if clip.has_audio else 'no sound'}"


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
    made.add_argument("--start", type=float, default=0.0, metavar="SECONDS", help="begin there, default 0.0")
    made.add_argument("--seconds", type=_positive, default=float("inf"), help="stop after this much of the clip")
    made.add_argument("--wait", type=float, default=20.0, help="longest wait for a listener in seconds, default 20")
    made.add_argument("--wait-topic", default="", metavar="TOPIC", help="begin only once this topic has a publisher and a subscriber too")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    given = parser().parse_args(remove_ros_args(list(argv if argv is not None else sys.argv[1:])))
    options = PlayOptions(given.rate, given.loop, given.seconds, given.wait, given.start, given.wait_topic)
    use_large_messages()

    def started() -> PlayerNode:
        try:
            clip = read_clip(given.clip, fit=given.size)
        except MediaError as error:
            raise Refused(str(error)) from error
        if why_not := refusal(clip, options.start_seconds):
            raise Refused(why_not)
        return PlayerNode(clip, options)

    def finish(node: Node) -> int:
        assert isinstance(node, PlayerNode)
        if node.error:
            print(f"error: {node.error}", file=sys.stderr)
        return 2 if node.error else 0

    return run(started, argv, finish)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
