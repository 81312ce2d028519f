"""The camera: a file, a stream from the network and scripted devices; what fails is said and comes back, what hangs holds up nothing."""

from __future__ import annotations

import http.server
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from ros2_emollama.config import CameraConfig
from ros2_emollama.ros import camera_node, conversions
from ros2_emollama.ros.camera_node import CameraNode
from ros2_emollama.ros.pictures import image_to_rgb
from ros2_emollama.ros.video import open_capture
from tests.conftest import REPOSITORY
from tests.ros.graph import Graph, wait_until
from tests.ros.scripted_devices import ScriptedCapture

pytestmark = pytest.mark.ros
STALE, ERROR, WARN, OK = 3, 2, 1, 0
FPS = 25


class Listener(Node):
    """Keeps pictures and reports."""

    def __init__(self, graph: Graph) -> None:
        super().__init__("listener", context=graph.context)
        self.pictures: list[Image] = []
        self.reports: list[Any] = []
        self.create_subscription(Image, "image_raw", self.pictures.append, 100)
        self.create_subscription(DiagnosticArray, "/diagnostics", lambda message: self.reports.append(message.status[0]), 100)

    def level(self) -> int:
        return int.from_bytes(self.reports[-1].level, "little") if self.reports else -1

    def said(self) -> str:
        return str(self.reports[-1].message)

    def values(self) -> dict[str, str]:
        return {entry.key: entry.value for entry in self.reports[-1].values}

    def stamps(self) -> list[int]:
        return [conversions.stamp_ns(picture.header.stamp) for picture in self.pictures]


@pytest.fixture
def listener(graph: Graph) -> Listener:
    return graph.add(Listener(graph))


def write_video(path: Path, seconds: float = 1.0) -> Path:
    """Pictures of 64×48, blue at first and brighter with every frame."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (64, 48))
    for number in range(round(seconds * FPS)):
        writer.write(np.full((48, 64, 3), (200, 8 * number % 200, 0), np.uint8))
    writer.release()
    return path


def camera(graph: Graph, device: Path | str, opener: Any = open_capture, **parameters: Any) -> CameraNode:
    given = [Parameter("device", value=str(device)), Parameter("reopen_seconds", value=0.2)]
    given += [Parameter(name, value=value) for name, value in parameters.items()]
    return graph.add(CameraNode(opener, context=graph.context, parameter_overrides=given))


def test_a_file_is_played_at_its_own_pace_in_its_own_colours(graph: Graph, listener: Listener, tmp_path: Path) -> None:
    started = time.monotonic()
    node = camera(graph, write_video(tmp_path / "clip.avi", 2.0), frame_id="head")
    wait_until(lambda: node.over)
    assert 1.9 < time.monotonic() - started < 3.0
    wait_until(lambda: len(listener.pictures) >= 45)
    first = listener.pictures[0]
    assert (first.encoding, first.width, first.height, first.step, first.header.frame_id) == ("bgr8", 64, 48, 192, "head")
    red, green, blue = image_to_rgb(first)[24, 32]
    assert blue > 180 and red < 40 and green < 100
    steps = np.diff(listener.stamps())
    assert np.median(steps) == pytest.approx(1e9 / FPS, rel=0.1)
    assert abs(graph_now(listener) - listener.stamps()[-1]) < 3_000_000_000
    wait_until(lambda: listener.level() == WARN and "with loop it would begin again" in listener.said())


def graph_now(node: Node) -> int:
    return int(node.get_clock().now().nanoseconds)


def test_a_loop_goes_on_and_diagnostics_tell_the_rate(graph: Graph, listener: Listener, tmp_path: Path) -> None:
    camera(graph, write_video(tmp_path / "clip.avi"), loop=True)
    wait_until(lambda: len(listener.pictures) > 2.5 * FPS)
    wait_until(lambda: listener.level() == OK and 20 < float(listener.values()["frame_rate_node"]) < 30)
    values = listener.values()
    assert (values["expected_frequency"], values["size"], values["reopens"]) == ("25.0", "64x48", "0")
    assert all(later > earlier for earlier, later in itertools.pairwise(listener.stamps()))


def test_a_file_that_vanishes_is_said_and_comes_back_by_itself(graph: Graph, listener: Listener, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 0.4)
    node = camera(graph, path, loop=True)
    wait_until(lambda: len(listener.pictures) > 5)
    content = path.read_bytes()
    path.unlink()
    wait_until(lambda: listener.level() == ERROR)
    assert f"no such file: {path}" in listener.said() and "set device to" in listener.said()
    before = len(listener.pictures)
    path.write_bytes(content)
    wait_until(lambda: listener.level() == OK and len(listener.pictures) > before + 5)
    assert node.reopens >= 1 and node.reason == ""


def test_a_read_that_hangs_is_noticed_and_does_not_hold_up_the_end(graph: Graph, listener: Listener) -> None:
    device = ScriptedCapture()
    node = camera(graph, "rtsp://nowhere/", lambda config: device)
    wait_until(lambda: len(listener.pictures) > 10)
    device.hang.set()
    hung = time.monotonic()
    wait_until(lambda: listener.level() == STALE)
    assert time.monotonic() - hung < 2.5 and "no picture for" in listener.said()
    ending = time.monotonic()
    graph.close()
    assert time.monotonic() - ending < 4.0 and not device.released
    device.hang.clear()  # the read comes back, and cleans up behind itself
    wait_until(lambda: device.released)
    assert not node.fatal


def test_a_read_that_hangs_for_long_is_left_behind_and_the_device_opened_again(
    graph: Graph, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_node, "HUNG_SECONDS", 0.5)
    monkeypatch.setattr(camera_node, "RELEASE_SECONDS", 0.1)
    devices: list[ScriptedCapture] = []

    def opener(config: CameraConfig) -> ScriptedCapture:
        devices.append(ScriptedCapture())
        if len(devices) < 3:
            devices[-1].hang.set()
        return devices[-1]

    node = camera(graph, "rtsp://user:secret@nowhere/", opener)
    wait_until(lambda: bool(node.reason))
    assert "gives nothing for 0.5 s" in node.reason and "secret" not in node.reason and "rtsp://...@nowhere/" in node.reason
    wait_until(lambda: len(listener.pictures) > 5)
    assert len(devices) == 3 and node.reason == "" and node.reopens == 1
    for device in devices:
        device.hang.clear()


def test_hung_reads_do_not_pile_up(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_node, "HUNG_SECONDS", 0.2)
    monkeypatch.setattr(camera_node, "RELEASE_SECONDS", 0.05)
    devices: list[ScriptedCapture] = []

    def opener(config: CameraConfig) -> ScriptedCapture:
        devices.append(ScriptedCapture())
        devices[-1].hang.set()
        return devices[-1]

    node = camera(graph, "rtsp://nowhere/", opener)
    wait_until(lambda: "still hang" in node.reason)
    time.sleep(0.5)
    assert len(devices) == camera_node.MOST_HUNG
    for device in devices:
        device.hang.clear()


def test_a_camera_that_is_pulled_out_is_released_and_opened_again(graph: Graph, listener: Listener) -> None:
    devices: list[ScriptedCapture] = []

    def opener(config: CameraConfig) -> ScriptedCapture:
        devices.append(ScriptedCapture())
        return devices[-1]

    node = camera(graph, "0", opener)
    wait_until(lambda: len(listener.pictures) > 5)
    devices[0].fail.set()
    wait_until(lambda: len(devices) == 2)
    assert devices[0].released
    before = len(listener.pictures)
    wait_until(lambda: len(listener.pictures) > before + 5)
    assert node.reopens == 1 and node.reason == ""


@pytest.mark.parametrize(
    ("shape", "kind", "encoding"),
    [((4, 6), "uint8", "mono8"), ((4, 6), "uint16", "mono16"), ((4, 6, 1), "uint8", "mono8"), ((4, 6, 4), "uint8", "bgra8")],
)
def test_what_the_device_gives_is_published_as_it_is(
    graph: Graph, listener: Listener, shape: tuple[int, ...], kind: str, encoding: str
) -> None:
    device = ScriptedCapture()
    device.picture = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    camera(graph, "0", lambda config: device)
    wait_until(lambda: len(listener.pictures) > 2)
    picture = listener.pictures[0]
    assert (picture.encoding, picture.height, picture.width) == (encoding, 4, 6)
    assert picture.step * 4 == len(picture.data) and bytes(picture.data) == device.picture.tobytes()


def test_pictures_without_a_name_are_refused_with_a_cure(graph: Graph) -> None:
    device = ScriptedCapture()
    device.picture = np.zeros((4, 6, 2), np.float32)
    node = camera(graph, "0", lambda config: device)
    wait_until(lambda: bool(node.reason))
    assert "2 channels of float32 cannot be published; set pixel_format" in node.reason


class Stream(http.server.BaseHTTPRequestHandler):
    """A network camera: JPEGs one after the other."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), (200, 0, 0), np.uint8))
        try:
            while not getattr(self.server, "silent", False):
                head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {jpeg.size}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")
                time.sleep(0.04)
            time.sleep(30.0)
        except OSError:  # the camera node left
            pass

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def stream() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def test_a_stream_that_falls_silent_is_seen_as_stale_and_comes_back(
    graph: Graph, listener: Listener, stream: http.server.ThreadingHTTPServer
) -> None:
    node = camera(graph, f"http://127.0.0.1:{stream.server_address[1]}/")
    wait_until(lambda: len(listener.pictures) > 20 and listener.level() == OK)
    assert listener.pictures[0].encoding == "bgr8"
    stream.silent = True  # type: ignore[attr-defined]
    wait_until(lambda: listener.level() == STALE)
    stream.silent = False  # type: ignore[attr-defined]
    before = len(listener.pictures)
    wait_until(lambda: len(listener.pictures) > before + 20, seconds=25.0)
    assert node.reopens >= 1


def test_an_interrupt_ends_the_node_cleanly_and_help_lists_its_parameters(graph: Graph, listener: Listener, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi")
    command = [sys.executable, "-m", "ros2_emollama.ros.camera_node"]
    environment = os.environ | {"ROS_DOMAIN_ID": str(graph.context.get_domain_id()), "PYTHONUNBUFFERED": "1"}
    arguments = ["--ros-args", "-p", f"device:={path}", "-p", "loop:=true"]
    node = subprocess.Popen(
        [*command, *arguments], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        wait_until(lambda: len(listener.pictures) > 10)
        node.send_signal(signal.SIGINT)
        said, _ = node.communicate(timeout=15)
    finally:
        node.kill()
    assert node.returncode == 0 and "Traceback" not in said and said.count("the camera is live") == 1, said
    help_text = subprocess.run([*command, "--help"], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert help_text.returncode == 0 and "frames_per_second" in help_text.stdout and "rtsp" in help_text.stdout
