"""What OpenCV reads: how a device is opened, what is said when it cannot be, and that only the newest picture is kept."""

from __future__ import annotations

import itertools

import cv2
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from ros2_emollama.config import CameraConfig
from ros2_emollama.ros import video
from ros2_emollama.ros.diagnostics import Tally
from ros2_emollama.ros.source import SourceError
from ros2_emollama.ros.video import Grabber, kind_of, open_capture, shown
from tests.conftest import REPOSITORY
from tests.ros.graph import wait_until
from tests.ros.scripted_devices import ScriptedCapture

pytestmark = pytest.mark.ros


def test_only_the_newest_picture_is_kept() -> None:
    device, tally = ScriptedCapture(), Tally()
    stamps = itertools.count()
    grabber = Grabber(CameraConfig(), lambda: next(stamps), tally, lambda config: device)
    wait_until(lambda: device.grabs > 10)
    taken = grabber.take(1.0)
    grabber.stop(1.0)
    assert taken is not None and taken[0] >= 9 and tally.snapshot()["replaced"] >= 9


def test_what_is_asked_for_is_asked_of_the_device_format_first() -> None:
    config = CameraConfig(device="3", width=1280, height=720, frames_per_second=30.0, pixel_format="MJPG")
    device = open_capture(config, ScriptedCapture)
    assert device.opened[0] == 3
    assert list(device.set_to.items()) == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280.0),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720.0),
        (cv2.CAP_PROP_FPS, 30.0),
    ]
    assert open_capture(CameraConfig(device="/dev/video7"), ScriptedCapture).opened[0] == "/dev/video7"


@pytest.mark.parametrize(
    ("device", "pixel_format", "message"),
    [
        ("no_such_clip.avi", "", "no such file: no_such_clip.avi; set device to"),
        ("97", "", "cannot open the camera '97'; is it plugged in"),
        (str(REPOSITORY / "README.md"), "", "OpenCV cannot play this file"),
        ("rtsp://user:secret@127.0.0.1:9/", "", r"cannot open the camera 'rtsp://\.\.\.@127.0.0.1:9/'; check the address"),
        ("0", "MJPEG", "pixel_format must have four characters"),
    ],
)
def test_what_cannot_be_opened_says_why_and_what_to_do(device: str, pixel_format: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_capture(CameraConfig(device=device, pixel_format=pixel_format))


def test_kinds_are_told_apart_and_passwords_not_shown() -> None:
    devices = ("0", "/dev/video0", "clip.mp4", "rtsp://10.0.0.7/live", "http://a:b@c/d")
    assert [kind_of(device) for device in devices] == [video.CAMERA, video.CAMERA, video.FILE, video.STREAM, video.STREAM]
    assert shown("http://a:b@c/d") == "http://...@c/d" and shown("clip.mp4") == "clip.mp4"
