"""What the perception node publishes: states, explanations, and for those who want them a picture with both drawn in and ROS4HRI's
expression. Called from the worker's threads.
"""

from __future__ import annotations

from typing import Any

from emollama.msg import EmotionReasoning, EmotionState
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image

from ..annotation import annotate
from ..config import Config
from ..types import UNKNOWN, Explanation, Frame
from ..types import EmotionState as State
from . import conversions, qos, sounds

DEPTH = 10
EXPRESSIONS = {
    "neutral": "neutral",
    "happy": "happy",
    "joy": "happy",
    "sad": "sad",
    "sadness": "sad",
    "angry": "angry",
    "anger": "angry",
    "fear": "scared",
    "disgust": "disgusted",
    "surprise": "surprised",
}
"""A model's label -> hri_msgs/Expression's word (REP-155). A label it has no word for is kept as it is."""


class Outputs:
    """Publishers of one node. `picture` is the newest frame, for drawing; it is held only while somebody looks."""

    def __init__(self, node: LifecycleNode, config: Config) -> None:
        self._node = node
        self._states = self._publisher(EmotionState, "emotion/state")
        self._reasonings = self._publisher(EmotionReasoning, "emotion/reasoning")
        self._pictures = self._publisher(Image, "emotion/image_annotated")
        self.config = config
        self._expressions = _Expressions(node, config.hri.face_id) if config.hri.enabled else None
        self._said = ""
        self._frame: Frame | None = None
        self.frame_id = ""

    def _publisher(self, kind: Any, topic: str) -> Any:
        return self._node.create_lifecycle_publisher(kind, topic, DEPTH, qos_overriding_options=qos.overrides())

    @property
    def looked_at(self) -> bool:
        """Does anybody want the annotated picture?"""
        return bool(self._pictures.get_subscription_count())

    def see(self, frame: Frame, frame_id: str) -> None:
        """The newest frame."""
        self.frame_id = frame_id
        self._frame = frame if self.looked_at else None

    def forget(self) -> None:
        self._frame, self._said = None, ""

    def state(self, state: State) -> None:
        self._states.publish(conversions.state_to_message(EmotionState(), state, self.frame_id))
        if self._expressions is not None and state.face >= self.config.labels.presence:  # what only a voice says is no face's expression
            self._expressions.publish(state, self.frame_id)
        frame = self._frame
        if frame is not None and self.looked_at:
            drawn = annotate(frame.pixels, state, self._said)
            self._pictures.publish(conversions.picture_to_message(Image(), drawn, frame.stamp_ns, self.frame_id))

    def explanation(self, explanation: Explanation) -> None:
        if explanation.text:
            self._said = explanation.text
        self._reasonings.publish(conversions.explanation_to_message(EmotionReasoning(), explanation, self.frame_id))


class _Expressions:
    """hri_msgs/Expression of the one face that ROS4HRI tracks, where hri_msgs is installed. Several faces: of none of them.

    The publisher follows the face on the executor's thread; states come from the worker's.
    """

    def __init__(self, node: LifecycleNode, face_id: str) -> None:
        self._node = node
        self._face = ""
        self._publisher: Any = None
        try:
            self._kind = sounds.message_class("hri_msgs/msg/Expression")
            ids = sounds.message_class("hri_msgs/msg/IdsList")
        except ImportError:  # a soft dependency: without it there is nobody to read this
            return
        self._turn_to(face_id)
        node.create_subscription(ids, "/humans/faces/tracked", self._on_tracked, 1)

    def _on_tracked(self, message: Any) -> None:
        self._turn_to(message.ids[0] if len(message.ids) == 1 else "")

    def _turn_to(self, face: str) -> None:
        if face == self._face:
            return
        before, self._publisher, self._face = self._publisher, None, face
        if before is not None:
            self._node.destroy_publisher(before)
        if face:
            self._publisher = self._node.create_publisher(self._kind, f"/humans/faces/{face}/expression", DEPTH)

    def publish(self, state: State, frame_id: str) -> None:
        publisher = self._publisher
        if publisher is None or state.label == UNKNOWN:
            return
        message = self._kind()
        conversions.set_stamp(message.header.stamp, state.end_ns)
        message.header.frame_id = frame_id
        message.expression = EXPRESSIONS.get(state.label, state.label)
        message.valence, message.arousal = state.valence, state.arousal  # NaN where the model does not know: 0.0 would read as neutral
        message.confidence = state.confidence
        publisher.publish(message)
