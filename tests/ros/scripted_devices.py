"""Devices that do what a test says, where sounddevice and cv2.VideoCapture stand."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np

DEVICES = [
    {"name": "HDA Intel: ALC257 Analog (hw:0,0)", "max_input_channels": 2},
    {"name": "HDMI 0", "max_input_channels": 0},
    {"name": "USB Audio: #0", "max_input_channels": 1},
    {"name": "USB Audio: #1", "max_input_channels": 1},
    {"name": "pulse", "max_input_channels": 32},
]


class ScriptedSound:
    """Stands where sounddevice stands; the test calls back as PortAudio would."""

    class PortAudioError(Exception): ...

    def __init__(self) -> None:
        self.active, self.hangs = True, False

    def query_devices(self, kind: str = "") -> Any:
        return DEVICES[4] | {"index": 4} if kind else DEVICES

    def RawInputStream(self, callback: Any, **_: Any) -> Any:
        self.callback = callback
        return self

    def start(self) -> None: ...

    def close(self) -> None:
        while self.hangs:
            time.sleep(0.05)

    def give(self, value: int, age_seconds: float = 0.05, overflow: bool = False) -> None:
        moments = SimpleNamespace(currentTime=9.0, inputBufferAdcTime=9.0 - age_seconds)
        self.callback(np.full(320, value, np.int16).tobytes(), 320, moments, SimpleNamespace(input_overflow=overflow))


class ScriptedCapture:
    """Stands where cv2.VideoCapture stands."""

    def __init__(self, *opened: Any) -> None:
        self.opened = opened
        self.grabs, self.released = 0, False
        self.hang, self.fail = threading.Event(), threading.Event()
        self.picture = np.zeros((48, 64, 3), np.uint8)
        self.set_to: dict[int, float] = {}

    def isOpened(self) -> bool:
        return True

    def get(self, option: int) -> float:
        return 50.0

    def set(self, option: int, value: float) -> None:
        self.set_to[option] = value

    def grab(self) -> bool:
        time.sleep(0.02)
        while self.hang.is_set():
            time.sleep(0.05)
        self.grabs += 1
        return not self.fail.is_set()

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, self.picture

    def release(self) -> None:
        self.released = True
