"""The player: what it hands out, in which order, with which stamps."""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from emollama.msg import AudioChunk as AudioChunkMessage
from emollama.srv import Seek
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from ros2_emollama.media import read_clip
from ros2_emollama.ros import conversions
from ros2_emollama.ros.demo_clip import CAPTION, HEIGHT, WIDTH, painter, write_clip
from ros2_emollama.ros.player_node import PlayerNode, PlayOptions, _size, main, refusal
from ros2_emollama.ros.playhead import GAP_NS, Playhead, items, moment_ns
from ros2_emollama.types import AudioChunk, Frame
from tests.core import clips
from tests.ros.graph import Graph, wait_until

pytestmark = pytest.mark.ros


def test_a_loop_goes_on_without_going_back() -> None:
    clip = [Frame(0, np.zeros((2, 2, 3), np.uint8)), AudioChunk(0, np.zeros(320, np.float32), 16000)]
    stamps = [item.stamp_ns for item in itertools.islice(items(lambda start_ns: clip, loop=True), 6)]
    assert stamps == sorted(stamps) and stamps[2] >= moment_ns(clip[1]) and stamps[4] == 2 * stamps[2]
    assert len(list(items(lambda start_ns: clip, loop=False))) == 2


@pytest.mark.parametrize("text", ["640", "0x480", "axb", ""])
def test_a_size_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="WIDTHxHEIGHT"):
        _size(text)


@pytest.mark.parametrize("rate", [1.0, 4.0])
def test_stamps_keep_the_clips_pace_at_any_rate(graph: Graph, tmp_path: Path, rate: float) -> None:
    clip = read_clip(clips.write_clip(tmp_path / "clip.mp4", seconds=1.0))
    listener = Node("listener", context=graph.context)
    pictures: list[Image] = []
    sounds: list[AudioChunkMessage] = []
    listener.create_subscription(Image, "image_raw", pictures.append, 100)
    listener.create_subscription(AudioChunkMessage, "audio", sounds.append, 100)
    graph.add(listener)
    graph.add(PlayerNode(clip, PlayOptions(rate=rate), context=graph.context))
    wait_until(lambda: len(pictures) == 25 and len(sounds) >= 50)
    stamps = [conversions.stamp_ns(picture.header.stamp) for picture in pictures]
    assert {later - earlier for earlier, later in itertools.pairwise(stamps)} == {40_000_000}
    heard = [conversions.stamp_ns(sound.header.stamp) for sound in sounds]
    assert abs(heard[0] - stamps[0]) < 60_000_000
    assert all(abs(later - earlier - 20_000_000) <= 1 for earlier, later in itertools.pairwise(heard))


def test_the_demo_clip_says_what_it_is_and_shows_a_portrait_between_empty_scenes(tmp_path: Path) -> None:
    portrait, room = np.full((512, 512, 3), 200, np.uint8), np.full((400, 600, 3), 20, np.uint8)
    paint = painter(portrait, room)
    assert [round(float(paint(second)[: HEIGHT // 2].mean())) for second in (1.0, 8.0, 17.0)] == [20, 200, 20]
    write_clip(tmp_path / "demo.mp4", lambda seconds: paint(1.0), np.zeros(22050, np.int16), 22050)
    clip = read_clip(tmp_path / "demo.mp4")
    assert clip.title == CAPTION and clip.has_video and clip.has_audio
    first = next(item for item in clip if isinstance(item, Frame))
    assert first.pixels.shape == (HEIGHT, WIDTH, 3)
    assert not list(tmp_path.glob("unfinished*"))


class Viewer(Node):
    """Watches a player and works its controls."""

    def __init__(self, graph: Graph) -> None:
        super().__init__("viewer", context=graph.context)
        self.pictures: list[Image] = []
        self.sounds: list[AudioChunkMessage] = []
        self.create_subscription(Image, "image_raw", self.pictures.append, 1000)
        self.create_subscription(AudioChunkMessage, "audio", self.sounds.append, 1000)
        self._pause = self.create_client(SetBool, "player/pause")
        self._seek = self.create_client(Seek, "player/seek")

    def _call(self, client: Any, request: Any) -> Any:
        assert client.wait_for_service(timeout_sec=10.0)
        future = client.call_async(request)
        wait_until(future.done)
        return future.result()

    def pause(self, wanted: bool) -> Any:
        return self._call(self._pause, SetBool.Request(data=wanted))

    def seek(self, seconds: float) -> Any:
        return self._call(self._seek, Seek.Request(seconds=seconds))

    def stamps(self) -> list[int]:
        """Of all that came, in the order of the clip's two streams."""
        return [conversions.stamp_ns(message.header.stamp) for message in [*self.pictures, *self.sounds]]

    def forward(self) -> bool:
        """Did neither stream ever step back?"""
        streams = ([conversions.stamp_ns(message.header.stamp) for message in list(stream)] for stream in (self.pictures, self.sounds))
        return all(later > earlier for stream in streams for earlier, later in itertools.pairwise(stream))


@pytest.fixture
def viewer(graph: Graph) -> Viewer:
    return graph.add(Viewer(graph))


def shade(picture: Image) -> int:
    """Number of the frame (of the first 16) that tests' clips show so."""
    return round((int(np.frombuffer(bytes(picture.data), np.uint8).reshape(48, 64, 3)[24, 48, 0]) - 40) / 10) % 20


def test_a_pause_stops_both_streams_and_their_stamps_go_on_at_the_present(graph: Graph, viewer: Viewer, tmp_path: Path) -> None:
    clip = read_clip(clips.write_clip(tmp_path / "clip.mp4", seconds=3.0))
    graph.add(PlayerNode(clip, PlayOptions(), context=graph.context))
    wait_until(lambda: len(viewer.pictures) >= 10)
    assert viewer.pause(True).message == "paused"
    time.sleep(0.2)  # what was on its way
    before = len(viewer.pictures), len(viewer.sounds)
    time.sleep(1.0)
    assert (len(viewer.pictures), len(viewer.sounds)) == before
    assert viewer.pause(False).message == "playing"
    wait_until(lambda: len(viewer.pictures) == 75)
    steps = np.diff([conversions.stamp_ns(picture.header.stamp) for picture in viewer.pictures])
    assert sorted(steps)[-2] == 40_000_000 and 1_100_000_000 < max(steps) < 1_600_000_000, "one gap, as long as the pause"
    assert viewer.forward()
    assert abs(viewer.get_clock().now().nanoseconds - max(viewer.stamps())) < 500_000_000


@pytest.mark.parametrize("rate", [1.0, 4.0])
def test_a_seek_plays_from_there_and_never_steps_back(graph: Graph, viewer: Viewer, tmp_path: Path, rate: float) -> None:
    clip = read_clip(clips.write_clip(tmp_path / "clip.mp4", seconds=4.0))
    graph.add(PlayerNode(clip, PlayOptions(rate=rate, loop=True), context=graph.context))
    wait_until(lambda: len(viewer.pictures) >= 30)
    answer = viewer.seek(0.2)
    assert answer.success and answer.message.startswith("playing from 0.200 s of 4.0"), answer.message
    before = len(viewer.pictures)
    wait_until(lambda: len(viewer.pictures) > before + 20)
    shades = [shade(picture) for picture in viewer.pictures]
    jumps = [i + 1 for i, (earlier, later) in enumerate(itertools.pairwise(shades)) if later != (earlier + 1) % 20]
    assert len(jumps) == 1 and jumps[0] >= 30 and shades[jumps[0]] == 5, "to the frame stamped 0.2 s, once"
    assert viewer.forward()


def test_a_seek_while_paused_stays_paused_and_goes_on_from_there(graph: Graph, viewer: Viewer, tmp_path: Path) -> None:
    clip = read_clip(clips.write_clip(tmp_path / "clip.mp4", seconds=3.0))
    graph.add(PlayerNode(clip, PlayOptions(), context=graph.context))
    wait_until(lambda: len(viewer.pictures) >= 5)
    viewer.pause(True)
    assert viewer.seek(2.0).success
    time.sleep(0.3)
    before = len(viewer.pictures)
    time.sleep(0.3)
    assert len(viewer.pictures) == before
    viewer.pause(False)
    wait_until(lambda: len(viewer.pictures) == before + 25)
    assert shade(viewer.pictures[before]) == 50 % 20 and viewer.forward()


@pytest.mark.parametrize("seconds", [2.5, -1.0, float("nan"), float("inf")])
def test_a_seek_out_of_the_clip_is_refused_with_its_length(graph: Graph, viewer: Viewer, tmp_path: Path, seconds: float) -> None:
    clip = read_clip(clips.write_clip(tmp_path / "clip.mp4", seconds=2.0))
    graph.add(PlayerNode(clip, PlayOptions(loop=True), context=graph.context))
    answer = viewer.seek(seconds)
    assert not answer.success and "is 2.0" in answer.message and "s long" in answer.message, answer.message
    assert refusal(clip, 1.0) == ""


def test_play_may_start_in_the_clip_and_last_as_long_as_asked(graph: Graph, viewer: Viewer, tmp_path: Path) -> None:
    clip = read_clip(clips.write_clip(tmp_path / "clip.mp4", seconds=3.0))
    player = graph.add(PlayerNode(clip, PlayOptions(start_seconds=1.0, seconds=0.4, rate=4.0), context=graph.context))
    wait_until(lambda: player._over)
    wait_until(lambda: len(viewer.pictures) == 10)
    assert [shade(picture) for picture in viewer.pictures] == [number % 20 for number in range(25, 35)]


def test_a_start_beyond_the_end_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = clips.write_clip(tmp_path / "clip.mp4", seconds=1.0)
    assert main(["--clip", str(path), "--start", "7"]) == 2
    assert "cannot play from 7 s: 'clip.mp4' is 1.0" in capsys.readouterr().err


def test_a_playhead_keeps_the_clips_pace_through_pauses_and_jumps() -> None:
    """At four times the speed stamps run ahead of the clock: what comes after a jump must not lie before them."""
    head = Playhead(rate=4.0)
    frame = Frame(2_000_000_000, np.zeros((2, 2, 3), np.uint8))
    head.move(0)
    head.go(10.0, 1_000_000_000)
    assert head.wait_seconds(frame, 10.0) == pytest.approx(0.5)
    assert head.stamped(frame).stamp_ns == 3_000_000_000
    head.halt(10.25)
    assert head.position_ns(99.0) == 1_000_000_000
    head.go(10.5, 1_500_000_000)
    assert head.stamped(frame).stamp_ns == 3_000_000_000, "the clock has not caught up yet: as without the pause"
    head.move(0)
    head.go(10.6, 1_600_000_000)
    assert head.stamped(Frame(0, frame.pixels)).stamp_ns == 3_000_000_000 + GAP_NS
    head.move(0)
    head.go(20.0, 11_000_000_000)
    assert head.stamped(Frame(0, frame.pixels)).stamp_ns == 11_000_000_000
