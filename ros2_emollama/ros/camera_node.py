"""A camera on the topic `image_raw` (sensor_msgs/Image, as OpenCV gives it: mostly bgr8). A node named `camera`.

The device is a camera's index or path, a video file (played at its own pace, and again with `loop`) or a URL (rtsp://...). Stamps are of
the moment of capture on the ROS clock. Only the newest picture is published, so that nothing lags behind. A camera that is unplugged or
cannot be opened is said once in the log and on /diagnostics, and opened again by itself; a read that hangs is seen after a second and left
behind after ten. Nothing is kept: a picture is published and forgotten.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from sensor_msgs.msg import Image

from ..config import CameraConfig
from . import conversions, qos, video
from .diagnostics import ERROR, OK, STALE, WARN, Tally
from .running import asked_for_help, run
from .share import use_large_messages
from .source import Health, SourceError, SourceNode, finish
from .video import Grabber, Picture

DEPTH = 5
POLL_SECONDS = 0.1
STALE_SECONDS = 1.0
HUNG_SECONDS = 10.0
RELEASE_SECONDS = 1.0
MOST_HUNG = 3  # reads that hang keep a thread each


class CameraNode(SourceNode[CameraConfig]):
    """See the module's contract. ConfigError for an unknown parameter. `opener` opens what is read, as video.open_capture does."""

    def __init__(self, opener: Callable[[CameraConfig], Any] = video.open_capture, **node_options: Any) -> None:
        super().__init__(CameraConfig(), **node_options)
        self._images = self.create_publisher(Image, "image_raw", qos.offered(DEPTH), qos_overriding_options=qos.overrides())
        self._opener = opener
        self._grabber: Grabber | None = None
        self._hung: list[Grabber] = []
        self._frames = self._reported = 0
        self._tally = Tally()
        self.over = False
        self.start()

    def serve(self) -> None:
        while self._play() and self.config.loop and not self.stopped():
            continue
        if not self.stopped():
            self.over = True
            self.get_logger().info(f"{self.config.device} is over; with loop it would begin again")

    def _play(self) -> bool:
        """Open the device and publish what it gives. True at the end of a file; SourceError when it fails."""
        self._hung = [grabber for grabber in self._hung if grabber.running]
        if len(self._hung) >= MOST_HUNG:
            raise SourceError(f"{MOST_HUNG} reads of {video.shown(self.config.device)!r} still hang; start the node again if it stays so")
        grabber = self._grabber = Grabber(self.config, self._now_ns, self._tally, self._opener)
        try:
            self._publish_from(grabber)
        finally:
            grabber.stop(RELEASE_SECONDS)
            if grabber.running:
                self._hung.append(grabber)
        if grabber.error:
            raise SourceError(grabber.error)
        return True

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _publish_from(self, grabber: Grabber) -> None:
        while not self.stopped():
            taken = grabber.take(POLL_SECONDS)
            if taken is not None:
                if self.reason or not self._frames:
                    self.live(f"{video.shown(self.config.device)!r}, {grabber.size} at {grabber.rate_hz:g} a second")
                self._publish(*taken)
            elif grabber.ended:
                return
            elif grabber.silent_seconds > HUNG_SECONDS:
                raise SourceError(
                    f"the camera {video.shown(self.config.device)!r} gives nothing for {HUNG_SECONDS:g} s; is it on, and the network up?"
                )

    def _publish(self, stamp_ns: int, picture: Picture) -> None:
        encoding = video.encoding_of(picture)
        self._images.publish(conversions.picture_to_message(Image(), picture, stamp_ns, self.config.frame_id, encoding))
        self._frames += 1

    def look(self, seconds: float) -> Health:
        grabber = self._grabber
        rate = (self._frames - self._reported) / max(seconds, 1e-3)
        self._reported = self._frames
        expected = grabber.rate_hz if grabber is not None else 0.0
        silent = grabber.silent_seconds if grabber is not None else 0.0
        values = [
            ("size", grabber.size if grabber is not None else ""),
            ("frame_rate_node", f"{rate:.1f}"),
            ("expected_frequency", f"{expected:.1f}"),
            ("frames", str(self._frames)),
            ("replaced_frames", str(self._tally.snapshot().get("replaced", 0))),
            ("newest_age_ms", f"{silent * 1e3:.0f}"),
            ("hung_reads", str(len(self._hung))),
        ]
        return Health(*self._judge(silent, rate, expected), values)

    def _judge(self, silent: float, rate: float, expected: float) -> tuple[bytes, str]:
        if self.reason:
            return ERROR, self.reason
        if self.over:
            return WARN, "the file is over; with loop it would begin again"
        if silent > max(STALE_SECONDS, 2.0 / expected if expected else 0.0):
            return STALE, f"no picture for {silent:.1f} s; is the camera still there, and the network up?"
        if not self._frames:
            return OK, "opening"
        if rate < expected / 2:
            return WARN, f"{rate:.1f} pictures a second where {expected:.1f} were expected; is it dark, or the machine too busy?"
        return OK, "live"


def main(argv: Sequence[str] | None = None) -> int:
    """`ros2 run emollama camera`; parameters: config/camera.yaml."""
    if asked_for_help(argv, __doc__, CameraConfig):
        return 0
    video.silence_opencv()
    use_large_messages()
    return run(CameraNode, argv, finish)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
