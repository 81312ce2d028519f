"""What differs between ROS distributions: Humble, Jazzy, Kilted. Nothing else in the package knows which one it runs on."""

from __future__ import annotations

from rclpy.context import Context
from rclpy.impl.implementation_singleton import rclpy_implementation

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = ["PROFILES_VARIABLE", "PublisherEventCallbacks", "RclError", "SubscriptionEventCallbacks", "leave_nodes_to_their_makers"]

RclError: type[Exception] = rclpy_implementation.RCLError
"""What ROS itself refuses: a keystore that is not there, a middleware built without security, a name that cannot be."""

_TRACKS_NODES = hasattr(Context, "track_node")  # since Kilted

PROFILES_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE" if _TRACKS_NODES else "FASTRTPS_DEFAULT_PROFILES_FILE"
"""Where Fast DDS looks for its profile; Kilted's warns about the old name, the others do not know the new one."""


def leave_nodes_to_their_makers(context: Context) -> None:
    """Let nothing but their makers destroy the nodes of this context.

    Kilted's shutdown destroys what nodes there are, on the thread that calls it and also those whose making was broken off. Call this
    before the first node is made.
    """
    if _TRACKS_NODES:
        context.track_node = lambda node: None
