"""The QoS that our nodes ask for and offer, and what of it may be overridden by parameters."""

from __future__ import annotations

from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)


def asked(depth: int, reliability: str) -> QoSProfile:
    """Of a subscription."""
    policy = ReliabilityPolicy.RELIABLE if reliability == "reliable" else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(depth=depth, reliability=policy)


def offered(depth: int) -> QoSProfile:
    """Of what a source publishes."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)  # reliable offers match every subscriber


def overrides() -> QoSOverridingOptions:
    """Lets `qos_overrides./topic.subscription.reliability` and the like stand in a params file."""
    return QoSOverridingOptions(OVERRIDABLE)
