"""What a node that publishes pictures loads before ROS starts."""

from __future__ import annotations

import os

from ..share import share_file
from .compat import PROFILES_VARIABLE

__all__ = ["share_file", "use_large_messages"]


def use_large_messages() -> None:
    """Let this process publish pictures through shared memory; call before rclpy.init. A profile the user has set stays."""
    os.environ.setdefault(PROFILES_VARIABLE, str(share_file("config/fastdds.xml")))
