"""audio_common_msgs of ros-drivers, foxglove_msgs and hri_msgs, as generated. Run by test_foreign.py, which sets their process up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from audio_common_msgs.msg import AudioData, AudioDataStamped, AudioInfo
from emollama.msg import AudioChunk as AudioChunkMessage
from foxglove_msgs.msg import CompressedAudio, RawAudio
from hri_msgs.msg import Expression, IdsList, LiveSpeech
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from ros2_emollama.ros import conversions, outputs
from ros2_emollama.types import UNKNOWN, EmotionState
from tests.ros.foreign.scene import Scene
from tests.ros.graph import Graph, wait_until
from tests.ros.mp3s import encoded, tone

START_NS = 1_700_000_000 * 10**9
NOISE = np.random.default_rng(3).integers(-9000, 9000, 32000).astype("<i2")
PIECES = [NOISE[i : i + 320].tobytes() for i in range(0, NOISE.size, 320)]


def heard(scene: Scene) -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in list(scene.heard)]) if scene.heard else np.zeros(0, np.float32)


def audio_data(data: bytes) -> AudioData:
    return AudioData(data=data)


def stamped(data: bytes, stamp_ns: int) -> AudioDataStamped:
    message = AudioDataStamped(audio=audio_data(data))
    conversions.set_stamp(message.header.stamp, stamp_ns)
    return message


def raw_audio(data: bytes, stamp_ns: int) -> RawAudio:
    message = RawAudio(data=data, format="pcm-s16", sample_rate=16000, number_of_channels=1)
    conversions.set_stamp(message.timestamp, stamp_ns)
    return message


@pytest.mark.parametrize(("kind", "make"), [(AudioDataStamped, stamped), (RawAudio, raw_audio)])
def test_samples_and_stamps_arrive_exactly(scene: Scene, kind: Any, make: Any) -> None:
    publisher = scene.publisher(kind, "audio")
    messages = [make(piece, START_NS + i * 20_000_000) for i, piece in enumerate(PIECES)]
    scene.publish(publisher, messages, lambda: sum(chunk.samples.size for chunk in scene.heard) == NOISE.size)
    assert np.array_equal(heard(scene), NOISE.astype(np.float32) / 32768)
    assert [chunk.stamp_ns for chunk in scene.heard] == [START_NS + i * 20_000_000 for i in range(len(PIECES))]
    name = f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"
    assert any(f"/audio is published as {name}; listening to that" in line for line in scene.said)
    wait_until(lambda: scene.sound_states() >= 4)


def test_sound_without_a_stamp_is_placed_one_chunk_behind_the_other(scene: Scene) -> None:
    scene.publish(scene.publisher(AudioData, "audio"), [audio_data(piece) for piece in PIECES], lambda: len(scene.heard) == len(PIECES))
    ends = [chunk.end_ns for chunk in scene.heard]
    assert abs(scene.heard[-1].stamp_ns - scene.node.get_clock().now().nanoseconds) < 3 * 10**9
    late = [chunk.stamp_ns - end for chunk, end in zip(scene.heard[1:], ends[:-1], strict=True)]
    assert all(abs(step) < 5_000_000 or abs(step) > 80_000_000 for step in late)


@pytest.mark.parametrize("said", [None, "mp3", "wave"])
def test_mp3_is_decoded_and_states_keep_coming_with_sound(scene: Scene, said: str | None) -> None:
    publisher = scene.publisher(AudioDataStamped, "audio")
    if said:
        told = scene.publisher(AudioInfo, "audio_info", 1)  # volatile, as audio_capture's is
        told.publish(AudioInfo(channels=1, sample_rate=16000, sample_format="S16LE", coding_format=said))
        wait_until(lambda: scene.node._inputs is not None and scene.node._inputs._info is not None)
    data = encoded(tone(4.0))
    pieces = [data[i : i + 288] for i in range(0, len(data), 288)]  # a frame a message, as GStreamer gives them
    scene.publish(publisher, [stamped(piece, START_NS + i * 36_000_000) for i, piece in enumerate(pieces)])
    wait_until(lambda: scene.sound_states() >= 10)
    samples = heard(scene)
    power = np.abs(np.fft.rfft(samples[-40000:-8000])) ** 2
    assert int(power.argmax()) == 880 and power[878:883].sum() > 0.99 * power.sum()


def test_audio_info_that_comes_late_changes_the_reading(scene: Scene) -> None:
    publisher, told = scene.publisher(AudioDataStamped, "audio"), scene.publisher(AudioInfo, "audio_info", 1)
    scene.publish(publisher, [stamped(p, START_NS + i * 20_000_000) for i, p in enumerate(PIECES[:20])], lambda: len(scene.heard) == 20)
    told.publish(AudioInfo(channels=2, sample_rate=48000, sample_format="F32LE", coding_format="wave"))
    frames = np.array([[0.5, 0.25]] * 480, "<f4").tobytes()
    i = 0

    def told_and_believed() -> bool:
        nonlocal i
        i += 1
        publisher.publish(stamped(frames, START_NS + 10**9 + i * 10_000_000))
        return any(chunk.sample_rate_hz == 48000 for chunk in scene.heard)

    wait_until(told_and_believed)
    newest = scene.heard[-1]
    assert newest.samples.size == 480 and np.allclose(newest.samples, 0.375)


def test_coded_sound_we_cannot_read_is_refused_by_name(scene: Scene) -> None:
    publisher, told = scene.publisher(AudioData, "audio"), scene.publisher(AudioInfo, "audio_info", 1)
    told.publish(AudioInfo(channels=1, sample_rate=16000, sample_format="S16LE", coding_format="vorbis"))

    def refused() -> bool:
        publisher.publish(audio_data(PIECES[0]))
        return scene.node.dropped.get("audio_coded", 0) > 0

    wait_until(refused)
    assert any("'vorbis' cannot be read" in line for line in scene.said)


def test_a_packet_stream_we_cannot_read_is_said_once(scene: Scene) -> None:
    scene.publisher(CompressedAudio, "audio", matched=False)
    wait_until(lambda: any(line.startswith("error") for line in scene.said))
    followed = scene.node._followed
    wait_until(lambda: scene.node._followed > followed + 0.3)
    [line] = [line for line in scene.said if line.startswith("error")]
    assert "foxglove_msgs/msg/CompressedAudio" in line and "RawAudio" in line


@pytest.fixture
def newcomer(graph: Graph) -> Iterator[Node]:
    """In a third participant."""
    another = Graph(beside=graph)
    yield another.add(Node("newcomer", context=another.context))
    another.close()


def test_the_first_type_is_heard_again_when_it_comes_back(newcomer: Node, scene: Scene) -> None:
    foreign = scene.publisher(RawAudio, "audio")
    scene.publish(foreign, [raw_audio(PIECES[0], START_NS)], lambda: len(scene.heard) == 1)
    scene.other.destroy_publisher(foreign)
    ours = newcomer.create_publisher(AudioChunkMessage, "audio", 10)
    wait_until(lambda: ours.get_subscription_count() > 0)
    message = AudioChunkMessage(sample_rate=16000, channels=1, format=1, data=PIECES[1])
    conversions.set_stamp(message.header.stamp, START_NS + 20_000_000)
    scene.publish(ours, [message], lambda: len(scene.heard) == 2)


def test_a_subscription_the_middleware_refuses_is_said_and_tried_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    subscribe, refusals = scene.node.create_subscription, iter(range(2))

    def reluctant(kind: Any, *arguments: Any, **options: Any) -> Any:
        if kind is RawAudio and next(refusals, None) is not None:
            raise RuntimeError("another type is here")
        return subscribe(kind, *arguments, **options)

    monkeypatch.setattr(scene.node, "create_subscription", reluctant)
    scene.publish(scene.publisher(RawAudio, "audio"), [raw_audio(PIECES[0], START_NS)], lambda: len(scene.heard) == 1)
    [line] = [line for line in scene.said if line.startswith("error")]
    assert "foxglove_msgs/msg/RawAudio cannot be subscribed to: another type is here" in line


def test_live_speech_is_taken_final_or_incremental_with_its_stamp(scene: Scene) -> None:
    publisher = scene.publisher(LiveSpeech, "transcript")

    def speech(**words: str) -> LiveSpeech:
        message = LiveSpeech(**words)
        conversions.set_stamp(message.header.stamp, START_NS)
        return message

    messages = [speech(), speech(incremental="good mor"), speech(incremental="good morning", final="Good morning.")]
    scene.publish(publisher, messages, lambda: len(scene.words) == 2)
    assert scene.words == [(START_NS, "good mor"), (START_NS, "Good morning.")]


class Faces:
    """Who listens to expressions, and who is tracked."""

    def __init__(self, graph: Graph, scene: Scene) -> None:
        self.scene = scene
        self.got: dict[str, list[Expression]] = {}
        # In the participant of the node: its publishers come and go with the face.
        for face in ("emollama", "a1b2", "other"):
            self.got[face] = []
            scene.listener.create_subscription(Expression, f"/humans/faces/{face}/expression", self.got[face].append, 10)
        self.tracked = scene.publisher(IdsList, "/humans/faces/tracked", QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE))

    def track(self, *ids: str) -> None:
        expressions = self.scene.node._outputs._expressions
        self.tracked.publish(IdsList(ids=list(ids)))
        wanted = ids[0] if len(ids) == 1 else ""
        wait_until(lambda: expressions is not None and expressions._face == wanted)

    def publish(self, held: str, labels: tuple[str, ...] = ("fear", "contempt"), seen: float = 0.9) -> None:
        self.scene.node._outputs.state(
            EmotionState(
                START_NS,
                START_NS + 4 * 10**9,
                None,
                labels,
                (0.75, 0.25),
                seen,
                0.9,
                ("video",),
                math.nan,
                math.nan,
                {},
                {},
                "m",
                "r",
                held=held,
            )
        )

    def until(self, face: str, held: str, count: int) -> list[Expression]:
        """A publisher is found by its listeners some time after it was made."""

        def arrived() -> bool:
            self.publish(held)
            return len(self.got[face]) >= count

        wait_until(arrived)
        return self.got[face]


def test_an_expression_has_hris_word_our_label_where_it_has_none_and_nan_for_what_is_not_known(graph: Graph, scene: Scene) -> None:
    faces = Faces(graph, scene)
    first = faces.until("emollama", "fear", 1)[0]
    assert first.expression == Expression.SCARED == "scared" and first.confidence == 0.75
    assert math.isnan(first.valence) and math.isnan(first.arousal)
    assert conversions.stamp_ns(first.header.stamp) == START_NS + 4 * 10**9
    faces.got["emollama"].clear()
    wait_until(lambda: faces.publish("contempt") is None and any(e.expression == "contempt" for e in faces.got["emollama"]))


def test_an_expression_is_published_of_exactly_one_tracked_face_and_of_nobody_unknown(graph: Graph, scene: Scene) -> None:
    faces = Faces(graph, scene)
    faces.track("a1b2")
    faces.until("a1b2", "fear", 1)
    assert not faces.got["emollama"]
    faces.track("a1b2", "other")
    count = len(faces.got["a1b2"])
    for _ in range(5):
        faces.publish("fear")
    faces.track("a1b2")
    faces.publish(UNKNOWN)
    for _ in range(5):
        faces.publish(UNKNOWN)
    for _ in range(5):
        faces.publish("fear", seen=0.1)  # a voice alone says it
    faces.track()
    for _ in range(5):
        faces.publish("fear")
    faces.track("other")
    faces.until("other", "fear", 1)
    assert len(faces.got["a1b2"]) - count <= 1 and not faces.got["emollama"]  # at most one was under way


@pytest.mark.parametrize("label", sorted(outputs.EXPRESSIONS))
def test_every_mapped_word_is_one_of_hris(label: str) -> None:
    words = {getattr(Expression, name) for name in ("NEUTRAL", "ANGRY", "SAD", "HAPPY", "SURPRISED", "DISGUSTED", "SCARED")}
    assert outputs.EXPRESSIONS[label] in words
