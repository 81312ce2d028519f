"""The player: what it hands out, in which order, with which stamps."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from emollama.msg import AudioChunk as AudioChunkMessage
from rclpy.node import Node
from sensor_msgs.msg import Image

from ros2_emollama.media import read_clip
from ros2_emollama.ros import conversions
from ros2_emollama.ros.demo_clip import CAPTION, HEIGHT, WIDTH, painter, write_clip
from ros2_emollama.ros.player_node import PlayerNode, PlayOptions, _size, items, moment_ns
from ros2_emollama.types import AudioChunk, Frame
from tests.core import clips
from tests.ros.graph import Graph, wait_until

pytestmark = pytest.mark.ros


def test_a_loop_goes_on_without_going_back() -> None:
    clip = [Frame(0, np.zeros((2, 2, 3), np.uint8)), AudioChunk(0, np.zeros(320, np.float32), 16000)]
    stamps = [item.stamp_ns for item in itertools.islice(items(clip, loop=True), 6)]
    assert stamps == sorted(stamps) and stamps[2] >= moment_ns(clip[1]) and stamps[4] == 2 * stamps[2]
    assert len(list(items(clip, loop=False))) == 2


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
