"""Pictures through OpenCV: a camera, a file played at its own pace, a stream from the network. Only the newest picture is kept.

A `Grabber` reads on a thread of its own, so that a read that hangs holds up nothing else; it is left behind and its thread ends whenever
the read does. Knows nothing about topics.
"""

from __future__ import annotations

import glob
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..config import CameraConfig
from .diagnostics import Tally
from .source import SourceError

Picture = npt.NDArray[Any]
CAMERA, FILE, STREAM = "camera", "file", "stream"
FALLBACK_FPS = 25.0  # of a file that does not say
NETWORK_TIMEOUT_MS = 5000
TIMEOUTS = ("CAP_PROP_OPEN_TIMEOUT_MSEC", "CAP_PROP_READ_TIMEOUT_MSEC")
UNDECODABLE = 30  # in a row, and the device has failed
ENCODINGS = {("uint8", 1): "mono8", ("uint16", 1): "mono16", ("uint8", 3): "bgr8", ("uint8", 4): "bgra8"}


def silence_opencv() -> None:
    """Keep OpenCV and FFmpeg from writing to the terminal at every attempt what we say once. A level the user has set stays."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg's AV_LOG_QUIET
    logging = getattr(getattr(cv2, "utils", None), "logging", None)
    if logging is not None and "OPENCV_LOG_LEVEL" not in os.environ:
        logging.setLogLevel(logging.LOG_LEVEL_SILENT)


def kind_of(device: str) -> str:
    """Which kind of device a name is."""
    if "://" in device:
        return STREAM
    return CAMERA if device.isdigit() or device.startswith("/dev/") else FILE


def shown(device: str) -> str:
    """The device as it may be shown: without a URL's user and password."""
    return re.sub(r"://[^/@]*@", "://...@", device)


def encoding_of(picture: Picture) -> str:
    """sensor_msgs' name for what OpenCV gave. SourceError: it has none."""
    channels = 1 if picture.ndim == 2 else int(picture.shape[2])
    found = ENCODINGS.get((picture.dtype.name, channels))
    if found is None:
        raise SourceError(f"pictures of {channels} channels of {picture.dtype.name} cannot be published; set pixel_format to another one")
    return found


def open_capture(config: CameraConfig, make: Callable[..., Any] = cv2.VideoCapture) -> Any:
    """An opened cv2.VideoCapture. SourceError says why not."""
    device, kind = config.device, kind_of(config.device)
    if kind == FILE and not Path(device).is_file():
        raise SourceError(f"no such file: {device}; set device to a camera (0), a video file or a URL")
    wishes = _wishes(config)
    capture = _made(device, kind, make)
    if not capture.isOpened():
        capture.release()
        raise SourceError(f"cannot open the camera {shown(device)!r}; {_cure(kind)}")
    for option, value in wishes:
        capture.set(option, value)
    return capture


def _made(device: str, kind: str, make: Callable[..., Any]) -> Any:
    if kind == CAMERA:
        api = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
        return make(int(device) if device.isdigit() else device, api)
    if kind == STREAM:
        known = [getattr(cv2, name) for name in TIMEOUTS if hasattr(cv2, name)]  # since OpenCV 4.5.2
        capture = make(device, cv2.CAP_FFMPEG, [number for option in known for number in (option, NETWORK_TIMEOUT_MS)])
        if capture.isOpened():
            return capture
        capture.release()  # this OpenCV may have been built with GStreamer alone
    return make(device, cv2.CAP_ANY)


def _wishes(config: CameraConfig) -> list[tuple[int, float]]:
    wishes = []
    if len(config.pixel_format) not in (0, 4):
        raise SourceError(f"pixel_format must have four characters, MJPG for instance, got {config.pixel_format!r}")
    if config.pixel_format:  # first: the sizes and rates a camera has depend on it
        wishes.append((cv2.CAP_PROP_FOURCC, float(cv2.VideoWriter.fourcc(*config.pixel_format))))
    sizes = ((cv2.CAP_PROP_FRAME_WIDTH, config.width), (cv2.CAP_PROP_FRAME_HEIGHT, config.height))
    wishes += [(option, float(value)) for option, value in (*sizes, (cv2.CAP_PROP_FPS, config.frames_per_second)) if value]
    return wishes


def _cure(kind: str) -> str:
    if kind == FILE:
        return "OpenCV cannot play this file; see whether it plays elsewhere, or convert it"
    if kind == STREAM:
        return "check the address, the user and password in it, and that the camera is on"
    there = ", ".join(sorted(glob.glob("/dev/video*"))) or "none"
    return f"is it plugged in, may this user read it (group video), does no other program hold it? There are: {there}"


class Grabber:
    """Opens the device and reads it until `stop`, its end or an error. `tally` counts "replaced": pictures the next one came before.

    error    why it ended, with the cure; empty while it runs and after a file's end
    ended    it gives nothing more
    rate_hz  what the device says of itself, 0.0 before it is open
    size     of the newest picture, WIDTHxHEIGHT
    """

    def __init__(
        self, config: CameraConfig, now_ns: Callable[[], int], tally: Tally, opener: Callable[[CameraConfig], Any] = open_capture
    ) -> None:
        self.error, self.ended, self.rate_hz, self.size = "", False, 0.0, ""
        self._config, self._now_ns, self._tally, self._opener = config, now_ns, tally, opener
        self._stop, self._fresh = threading.Event(), threading.Condition()
        self._newest: tuple[int, Picture] | None = None
        self._came = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def silent_seconds(self) -> float:
        """Since the last picture came, or since the start."""
        return time.monotonic() - self._came

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def take(self, timeout_seconds: float) -> tuple[int, Picture] | None:
        """Stamp and pixels of the newest picture, once; None when none came in time."""
        with self._fresh:
            self._fresh.wait_for(lambda: self._newest is not None or self.ended, timeout_seconds)
            taken, self._newest = self._newest, None
        return taken

    def stop(self, wait_seconds: float) -> None:
        """Ask it to end; wait so long at most, for a read may hang for ever."""
        self._stop.set()
        self._thread.join(wait_seconds)

    def _run(self) -> None:
        capture = None
        try:
            capture = self._opener(self._config)
            self._read(capture)
        except Exception as error:  # noqa: BLE001 whatever a driver raises is told to whoever takes the pictures
            self.error = str(error) or type(error).__name__
        finally:
            if capture is not None:
                capture.release()
            with self._fresh:
                self.ended = True
                self._fresh.notify_all()

    def _read(self, capture: Any) -> None:
        kind, count, bad = kind_of(self._config.device), 0, 0
        self.rate_hz = float(capture.get(cv2.CAP_PROP_FPS)) or self._config.frames_per_second
        self._came = started = time.monotonic()
        while not self._stop.is_set():
            if not capture.grab():
                if kind == FILE and count:
                    return
                raise SourceError(f"the camera {shown(self._config.device)!r} gives no more pictures; {_cure(kind)}")
            stamp_ns = self._now_ns()  # before decoding, which takes milliseconds
            decoded, picture = capture.retrieve()
            bad = 0 if decoded else bad + 1
            if bad > UNDECODABLE:
                raise SourceError(f"pictures of {shown(self._config.device)!r} cannot be decoded; set pixel_format to another one")
            if decoded:
                self._put(stamp_ns, np.asarray(picture))
            count += 1
            if kind == FILE:
                self._stop.wait(max(0.0, started + count / (self.rate_hz or FALLBACK_FPS) - time.monotonic()))

    def _put(self, stamp_ns: int, picture: Picture) -> None:
        with self._fresh:
            if self._newest is not None:
                self._tally.add("replaced")
            self._newest, self._came = (stamp_ns, picture), time.monotonic()
            self.size = f"{picture.shape[1]}x{picture.shape[0]}"
            self._fresh.notify_all()
