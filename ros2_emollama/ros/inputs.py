"""The perception node's subscriptions: pictures, sound, words. Opened on activation, closed without a trace.

All is subscribed serialized, for two reasons: of most pictures only the stamp is wanted, and a message that the middleware cannot read
would vanish inside it, uncounted. A topic's type is followed: where its publishers send another one that we can read, the subscription
changes over; where they send one that we cannot, and where a publisher's QoS does not match, the log says so once, with the cure.
audio_common's AudioInfo is heard on the topic audio_info beside the sound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from ..config import Config
from ..types import AudioChunk
from . import conversions, qos, sounds
from .bad_message import BadMessage
from .compat import SubscriptionEventCallbacks

TRANSCRIPT_DEPTH = 10
TRANSCRIPTS = ("std_msgs/msg/String", "hri_msgs/msg/LiveSpeech")


@dataclass
class Following:
    """One subscription whose type is that of the topic's publishers.

    readable  type names, the preferred one first
    serve     type name and class → what takes a serialized message. ImportError: that message cannot be read after all
    hints     type name → cure, for types that are readable another way
    """

    node: Node
    topic: str
    readable: Sequence[str]
    qos: QoSProfile
    serve: Callable[[str, Any], Callable[[bytes], None]]
    section: str
    hints: Mapping[str, str] = field(default_factory=dict)
    type_name: str = ""
    subscription: Any = None
    _complained: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return str(self.node.resolve_topic_name(self.topic))

    def open(self, type_name: str = "") -> None:
        """Subscribe, at first to the preferred type."""
        chosen = type_name or self.readable[0]
        kind = sounds.message_class(chosen)
        callback = self.serve(chosen, kind)
        self.close()
        events = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_qos)
        self.subscription = self.node.create_subscription(
            kind, self.topic, callback, self.qos, raw=True, event_callbacks=events, qos_overriding_options=qos.overrides()
        )
        self.type_name = chosen

    def close(self) -> None:
        if self.subscription is not None:
            self.node.destroy_subscription(self.subscription)
        self.subscription = None

    def follow(self) -> None:
        """Look at who publishes; call it now and then."""
        offered = {info.topic_type for info in self.node.get_publishers_info_by_topic(self.name)}
        if not offered or self.type_name in offered:
            return
        reasons = []
        for type_name in [name for name in self.readable if name in offered]:
            try:
                self.open(type_name)
            except ImportError as error:
                reasons.append(f"{type_name} cannot be read here: {error}; install its package and source its workspace")
            except RuntimeError as error:  # rclpy's RCLError: the middleware will not have two types of one topic in this process
                self.type_name = ""  # we listen to nothing now, and try again
                reasons.append(f"{type_name} cannot be subscribed to: {error}")
            else:
                self.node.get_logger().info(f"{self.name} is published as {type_name}; listening to that")
                return
        self._complain(offered, reasons)

    def _complain(self, offered: set[str], reasons: list[str]) -> None:
        fresh = offered - self._complained
        if not fresh:
            return
        self._complained |= offered
        known = f"we read {', '.join(self.readable)}"
        cure = "; ".join(reasons) or next((hint for name, hint in self.hints.items() if name in fresh), known)
        self.node.get_logger().error(f"{self.name} is published as {', '.join(sorted(offered))}, nothing will arrive from it; {cure}")

    def _on_incompatible_qos(self, event: Any) -> None:
        policy = QoSPolicyKind(int(event.last_policy_kind)).name.lower()
        self.node.get_logger().error(
            f"a publisher of {self.name} offers another {policy} than we ask for, nothing will arrive from it; {self._cure(policy)}"
        )

    def _cure(self, policy: str) -> str:
        """What to set where: our own parameter, unless an override stands above it."""
        weakest = {"reliability": "best_effort", "durability": "volatile"}.get(policy)
        if weakest is None:
            return f"see: ros2 topic info -v {self.name}"
        own = f"{self.section}.{policy}"
        asked = self.node.get_parameter(own).value if self.node.has_parameter(own) else weakest
        return f"set {own if asked != weakest else f'qos_overrides.{self.name}.subscription.{policy}'} to {weakest}"


class Inputs:
    """All of them. Handlers are called on the executor's thread.

    on_picture  serialized Image or CompressedImage
    on_sound    the chunks of one message
    on_words    stamp in ns (0 = now) and text
    on_bad      a message that could not be read
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        on_picture: Callable[[bytes], None],
        on_sound: Callable[[Sequence[AudioChunk]], None],
        on_words: Callable[[int, str], None],
        on_bad: Callable[[BadMessage], None],
    ) -> None:
        self._node, self._config = node, config
        self._on_sound, self._on_words, self._on_bad = on_sound, on_words, on_bad
        self._info: Any = None
        image, audio = config.image, config.audio
        compressed = image.transport == "compressed"
        other = ("sensor_msgs/msg/Image", "raw") if compressed else ("sensor_msgs/msg/CompressedImage", "compressed")
        self._topics = [
            Following(
                node,
                "image_raw/compressed" if compressed else "image_raw",
                ("sensor_msgs/msg/CompressedImage",) if compressed else ("sensor_msgs/msg/Image",),
                qos.asked(image.depth, image.reliability),
                lambda name, kind: on_picture,
                "image",
                hints={other[0]: f"set image.transport to {other[1]}"},
            ),
            Following(
                node,
                "audio",
                sounds.CANDIDATES,
                qos.asked(audio.depth, audio.reliability),
                self._serve_sound,
                "audio",
                hints={"foxglove_msgs/msg/CompressedAudio": "opus and AAC are not decoded, let its publisher send RawAudio"},
            ),
            Following(node, "transcript", TRANSCRIPTS, qos.asked(TRANSCRIPT_DEPTH, "best_effort"), self._serve_words, "transcript"),
        ]

    @property
    def picture_class(self) -> Any:
        return CompressedImage if self._config.image.transport == "compressed" else Image

    @property
    def names(self) -> list[str]:
        return [topic.name for topic in self._topics]

    def open(self) -> None:
        for topic in self._topics:
            topic.open()

    def close(self) -> None:
        for topic in self._topics:
            topic.close()
        self._close_info()

    def follow(self) -> None:
        for topic in self._topics:
            topic.follow()

    def _reading(self, kind: Any, take: Callable[[Any], None]) -> Callable[[bytes], None]:
        def read(cdr: bytes) -> None:
            try:
                message = message_from(cdr, kind)
            except BadMessage as error:
                self._on_bad(error)
                return
            take(message)

        return read

    def _serve_sound(self, type_name: str, kind: Any) -> Callable[[bytes], None]:
        reader = sounds.SoundReader(kind, self._config.audio, self._on_bad)

        def take(message: Any) -> None:
            chunks = reader.read(message, self._node.get_clock().now().nanoseconds)
            if chunks:
                self._on_sound(chunks)

        self._close_info()
        if reader.wants_info:
            beside = str(self._node.resolve_topic_name("audio")).rpartition("/")[0]
            info = sounds.message_class("audio_common_msgs/msg/AudioInfo")
            # audio_capture tells it every five seconds to whoever listens then: asking for it latched would match no such publisher.
            self._info = self._node.create_subscription(info, f"{beside}/audio_info", reader.tell, qos.asked(1, "best_effort"))
        return self._reading(kind, take)

    def _close_info(self) -> None:
        if self._info is not None:
            self._node.destroy_subscription(self._info)
        self._info = None

    def _serve_words(self, type_name: str, kind: Any) -> Callable[[bytes], None]:
        if hasattr(kind, "data"):
            return self._reading(kind, lambda message: self._on_words(0, message.data))

        def take(speech: Any) -> None:
            words = speech.final or speech.incremental
            if words:  # a recogniser may send an empty one when somebody begins to speak
                self._on_words(conversions.stamp_ns(speech.header.stamp), words)

        return self._reading(kind, take)


def message_from(cdr: bytes, kind: Any) -> Any:
    """The message of that class from its bytes on the wire. BadMessage (message_broken) where they are none."""
    try:
        return deserialize_message(cdr, kind)
    except RuntimeError as error:  # rclpy's RMWError
        raise BadMessage("message_broken", f"{len(cdr)} bytes are no {kind.__name__}; check its publisher and the network") from error
