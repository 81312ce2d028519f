"""Is everything here that emollama needs? Findings with cures; nothing is changed, and nothing of ROS is imported.

Works on a half-installed machine: what is missing is a finding, not a traceback.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterator

from .. import __version__
from ..config import Config
from . import dds, devices, memory, model, packages, ros, runtimes
from .finding import NOTE, OK, PROBLEM, Finding
from .machine import Machine

__all__ = ["NOTE", "OK", "PROBLEM", "Finding", "Machine", "examine", "versions"]


def examine(config: Config, machine: Machine | None = None, quick: bool = False) -> Iterator[Finding]:
    """Everything, section by section, the model last."""
    machine = machine or Machine()
    yield from _section("python", packages.examine(machine))
    facts = ros.probe(machine)
    yield from _section("ros", ros.examine(machine, facts))
    if "rclpy" in facts:
        yield from _section("dds", dds.examine(machine, facts))
    yield from _section("devices", devices.examine(machine))
    yield from _section("runtimes", runtimes.examine(machine))
    yield from _section("memory", memory.examine(config, machine))
    yield from _section("model", model.examine(config, quick))


def _section(name: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    return (dataclasses.replace(finding, section=name) for finding in findings)


def versions() -> list[tuple[str, str]]:
    """Name and version of what a report of a fault should tell."""
    rows = [("emollama", __version__), ("python", platform.python_version()), ("machine", f"{platform.system()} {platform.machine()}")]
    return rows + [(name, _told(packages.version_of(name))) for name in ("onnxruntime", "numpy", "av")]


def _told(version: str | None) -> str:
    return "not installed" if version is None else version or "unknown version"
