"""The microphone, against a real (virtual) sound card: what is played is what is published, stamped when it was heard; it survives being
pulled out."""

from __future__ import annotations

import itertools
import math
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from diagnostic_msgs.msg import DiagnosticArray
from emollama.msg import AudioChunk
from rclpy.node import Node

from ros2_emollama.ros import conversions, portaudio
from ros2_emollama.ros.microphone_node import MicrophoneNode
from tests.conftest import REPOSITORY
from tests.ros.graph import Graph, wait_until
from tests.ros.scripted_devices import ScriptedSound
from tests.ros.virtual_card import INSTALL, NAME, RATE_HZ, VirtualCard, missing

pytestmark = pytest.mark.ros
STALE, ERROR, WARN, OK = 3, 2, 1, 0


class Listener(Node):
    """Keeps every chunk with the time it came, and the newest report."""

    def __init__(self, graph: Graph) -> None:
        super().__init__("listener", context=graph.context)
        self.chunks: list[tuple[int, AudioChunk]] = []
        self.reports: list[Any] = []
        self.create_subscription(AudioChunk, "audio", self._on_chunk, 1000)
        self.create_subscription(DiagnosticArray, "/diagnostics", lambda message: self.reports.append(message.status[0]), 100)

    def _on_chunk(self, message: AudioChunk) -> None:
        self.chunks.append((self.get_clock().now().nanoseconds, message))

    def level(self) -> int:
        return int.from_bytes(self.reports[-1].level, "little") if self.reports else -1

    def values(self) -> dict[str, str]:
        return {entry.key: entry.value for entry in self.reports[-1].values}


@pytest.fixture
def listener(graph: Graph) -> Listener:
    return graph.add(Listener(graph))


@pytest.fixture
def card() -> Iterator[VirtualCard]:
    if missing():
        pytest.skip(f"not installed: {missing()}; {INSTALL}")
    pytest.importorskip("sounddevice")
    made = VirtualCard()
    made.plug()
    yield made
    made.close()


@pytest.fixture
def node(graph: Graph, card: VirtualCard, listener: Listener) -> Iterator[subprocess.Popen[str]]:
    """The node as a process: its PortAudio is its own, and its end is seen."""
    command = [sys.executable, "-m", "ros2_emollama.ros.microphone_node", "--ros-args"]
    command += ["-p", f"device:={NAME.upper()}", "-p", "reopen_seconds:=0.3"]
    environment = card.environment | {"ROS_DOMAIN_ID": str(graph.context.get_domain_id()), "PYTHONUNBUFFERED": "1"}
    card.play(noise(60.0))
    started = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    yield started
    started.kill()
    started.wait()


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).integers(-9000, 9000, round(seconds * RATE_HZ)).astype(np.int16)


def samples(chunks: list[tuple[int, AudioChunk]]) -> np.ndarray:
    return np.concatenate([np.frombuffer(bytes(chunk.data), "<i2") for _, chunk in chunks])


def pieces_in(played: np.ndarray, heard: np.ndarray, size: int = 1600) -> tuple[float, list[int]]:
    """How many of the pieces of `heard` stand in `played` sample for sample, and where the pieces lie in it."""
    length = 1 << (played.size + size).bit_length()
    spectrum = np.fft.rfft(played.astype(np.float64), length)
    exact, places = 0, []
    for start in range(0, heard.size - size + 1, size):
        piece = heard[start : start + size]
        likeness = np.fft.irfft(spectrum * np.conj(np.fft.rfft(piece.astype(np.float64), length)), length)
        places.append(int(likeness.argmax()))
        exact += np.array_equal(played[places[-1] : places[-1] + size], piece)
    return exact / len(places), places


def test_what_is_played_is_published_whole_and_stamped_when_it_was_heard(
    card: VirtualCard, node: subprocess.Popen[str], listener: Listener
) -> None:
    wait_until(lambda: len(listener.chunks) > 100)
    listener.chunks.clear()
    time.sleep(5.0)
    chunks = list(listener.chunks)
    first = chunks[0][1]
    assert (first.sample_rate, first.channels, first.format, len(first.data)) == (RATE_HZ, 1, AudioChunk.FORMAT_INT16, 640)
    assert first.header.frame_id == "microphone"

    seconds = (chunks[-1][0] - chunks[0][0]) * 1e-9
    heard = samples(chunks)
    assert heard.size - 320 == pytest.approx(seconds * RATE_HZ, rel=0.01)

    exact, places = pieces_in(noise(60.0), heard)
    assert exact > 0.9, "a virtual card stutters on a busy machine, and only then"
    assert places == sorted(places), "in order, none twice"

    stamps = [conversions.stamp_ns(chunk.header.stamp) for _, chunk in chunks]
    steps = np.diff(stamps)
    assert np.abs(steps - 20_000_000).max() < 5_000_000
    ages = [came - stamp for stamp, (came, _) in zip(stamps, chunks, strict=True)]
    assert 20_000_000 <= np.median(ages) < 150_000_000


def test_diagnostics_tell_device_rate_and_level(card: VirtualCard, node: subprocess.Popen[str], listener: Listener) -> None:
    wait_until(lambda: listener.level() == OK and listener.values()["chunks_per_second"].startswith(("49", "50")))
    values = listener.values()
    assert (values["name"], values["sample_rate_hz"], values["channels"]) == (NAME, "16000", "1")
    assert float(values["rms_dbfs"]) == pytest.approx(20 * math.log10(9000 / math.sqrt(3) / 32768), abs=0.3)
    assert float(values["peak_dbfs"]) == pytest.approx(20 * math.log10(9000 / 32768), abs=0.3)
    card.silence()
    wait_until(lambda: listener.level() == WARN)
    assert "always with the same value" in listener.reports[-1].message and listener.values()["rms_dbfs"] == "-inf"


def test_a_microphone_that_is_pulled_out_is_noticed_and_comes_back_by_itself(
    card: VirtualCard, node: subprocess.Popen[str], listener: Listener
) -> None:
    wait_until(lambda: len(listener.chunks) > 50 and listener.level() == OK)
    card.unplug()
    pulled = time.monotonic()
    assert node.stdout is not None
    said = next(line for line in node.stdout if "[ERROR]" in line)
    assert time.monotonic() - pulled < 1.0 and "opened again by itself" in said
    wait_until(lambda: listener.level() == ERROR, seconds=2.5)  # a report comes once a second
    assert NAME in listener.reports[-1].message
    time.sleep(1.0)
    before = len(listener.chunks)
    card.plug()
    card.play(noise(30.0))
    wait_until(lambda: len(listener.chunks) > before + 50 and listener.level() == OK)
    assert int(listener.values()["reopens"]) >= 1
    stamps = [conversions.stamp_ns(chunk.header.stamp) for _, chunk in listener.chunks]
    assert all(later > earlier for earlier, later in itertools.pairwise(stamps)), "there is a hole, and no way back"
    node.send_signal(signal.SIGINT)
    said, _ = node.communicate(timeout=15)
    assert node.returncode == 0 and "Traceback" not in said, said
    assert "[ERROR]" not in said and "the microphone is back" in said, said


def test_a_device_that_is_not_there_is_said_with_those_that_are(card: VirtualCard, graph: Graph, listener: Listener) -> None:
    command = [sys.executable, "-m", "ros2_emollama.ros.microphone_node", "--ros-args", "-p", "device:=no such thing"]
    environment = card.environment | {"ROS_DOMAIN_ID": str(graph.context.get_domain_id())}
    node = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_until(lambda: listener.level() == ERROR)
        assert "no input device has 'no such thing' in its name" in listener.reports[-1].message
        assert NAME in listener.reports[-1].message
        node.send_signal(signal.SIGINT)
        said, _ = node.communicate(timeout=15)
        assert node.returncode == 0 and said.count("no such thing") == 1, said
    finally:
        node.kill()
        node.wait()


def test_a_driver_that_never_comes_back_ends_the_node(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = ScriptedSound()
    sound.hangs = True
    monkeypatch.setattr(portaudio, "load", lambda: sound)
    monkeypatch.setattr(portaudio, "CLOSE_SECONDS", 0.2)
    node = MicrophoneNode(context=graph.context)
    wait_until(lambda: hasattr(sound, "callback"))
    sound.give(1)
    sound.active = False
    wait_until(lambda: bool(node.fatal))
    assert "PortAudio hangs while it closes 'pulse'; start the node again" in node.fatal
    wait_until(lambda: not graph.context.ok())
    node.destroy_node()
    sound.hangs = False


def test_help_lists_every_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    from ros2_emollama.config import MicrophoneConfig
    from ros2_emollama.options import fields
    from ros2_emollama.ros.microphone_node import main

    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"{entry.name} " in said and entry.help in said for entry in fields(MicrophoneConfig))
