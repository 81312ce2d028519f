"""What PortAudio gives: which device is meant, what happens to blocks and their times, what is said when it fails; the level meter."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from ros2_emollama.ros import portaudio
from ros2_emollama.ros.level import LevelMeter
from ros2_emollama.ros.portaudio import HELD_BLOCKS, Losses, Microphone, pick
from ros2_emollama.ros.running import Refused
from ros2_emollama.ros.source import SourceError
from tests.ros.scripted_devices import DEVICES, ScriptedSound

pytestmark = pytest.mark.ros
RATE_HZ = 16000


@pytest.mark.parametrize(("wanted", "index"), [("", 4), ("0", 0), ("alc257", 0), ("usb audio: #1", 3), ("PULSE", 4)])
def test_a_device_is_found_by_index_name_and_part_of_a_name(wanted: str, index: int) -> None:
    assert pick(wanted, DEVICES, 4) == index


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("HDMI", "no input device has 'HDMI' in its name; there are: 0: HDA Intel"),
        ("1", "no input device has index 1; there are: 0: HDA"),
        ("usb", "may be several input devices.*2: USB Audio: #0; 3: USB Audio: #1"),
        ("", "no default input device; set device to one of these"),
    ],
)
def test_a_device_that_cannot_be_meant_is_refused_with_what_is_there(wanted: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        pick(wanted, DEVICES, -1)


def opened(sound: ScriptedSound) -> tuple[Microphone, Losses]:
    losses = Losses()
    return Microphone(sound, "", RATE_HZ, 1, 320, losses), losses


def test_blocks_that_nobody_takes_push_out_the_oldest_and_are_counted() -> None:
    sound = ScriptedSound()
    microphone, losses = opened(sound)
    for value in range(HELD_BLOCKS + 7):
        sound.give(value, overflow=value == 3)
    block = microphone.next()
    assert block is not None and block.number == 7 and np.frombuffer(block.data, np.int16)[0] == 7
    assert (losses.blocks, losses.overflows) == (7, 1)


@pytest.mark.parametrize(("said", "believed"), [(0.05, 0.05), (0.001, 0.02), (9.0, 0.02)])
def test_the_converters_time_is_taken_unless_it_cannot_be(said: float, believed: float) -> None:
    """A block of 20 ms is 20 ms old at least; an age of seconds is a clock that was never set."""
    sound = ScriptedSound()
    microphone, _ = opened(sound)
    sound.give(1, age_seconds=said)
    now = time.monotonic_ns()
    block = microphone.next()
    assert block is not None and (now - block.heard_ns) * 1e-9 == pytest.approx(believed, abs=0.01)


def test_a_stream_that_ends_and_one_that_falls_silent_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = ScriptedSound()
    microphone, _ = opened(sound)
    sound.give(1)
    assert microphone.next() is not None
    with pytest.raises(SourceError, match=r"nothing comes from the microphone 'pulse' for 0.[56]"):
        while True:
            microphone.next()
    sound.active = False
    with pytest.raises(SourceError, match="the microphone 'pulse' ended; is it unplugged"):
        microphone.next()


def test_what_is_not_installed_is_named_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(Refused, match="pip install sounddevice"):
        portaudio.load()
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Refused, match=r"PortAudio library not found.*apt install libportaudio2"):
        portaudio.load()


def test_the_meter_reads_full_scale_silence_and_a_stuck_converter() -> None:
    meter = LevelMeter()
    assert math.isnan(meter.take().rms_dbfs)
    sine = (16384 * np.sin(2 * np.pi * np.arange(1600) / 160)).astype(np.int16)
    meter.add(sine[:800].reshape(-1, 2))
    meter.add(sine[800:].reshape(-1, 2))
    level = meter.take()
    assert level.rms_dbfs == pytest.approx(-9.03, abs=0.01) and level.peak_dbfs == pytest.approx(-6.02, abs=0.01) and not level.still
    meter.add(np.zeros((320, 1), np.int16))
    assert meter.take() == type(level)(-math.inf, -math.inf, True)
    meter.add(np.tile(np.array([[-32768, 5]], np.int16), (320, 1)))
    level = meter.take()
    assert level.still and level.peak_dbfs == 0.0, "each channel stuck at a value of its own"
