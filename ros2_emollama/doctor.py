"""Is everything here that emollama needs? Findings with cures; nothing is changed.

Looks packages up without importing them where it can, so it also works on a half-installed machine.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass

from . import __version__
from .model.folder import ModelFolderError, find_model, open_folder

NEEDED = {
    "numpy": ("numpy",),
    "cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python"),
    "av": ("av",),
    "soxr": ("soxr",),
    "tokenizers": ("tokenizers",),
    "safetensors": ("safetensors",),
    "yaml": ("PyYAML",),
    "tqdm": ("tqdm",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}
"""Module -> the distributions that may bring it; the first one is the cure."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `grade`: "ok", "note" (works without) or "problem"; the text of the last two ends with the cure."""

    grade: str
    subject: str
    text: str


def examine(model: str) -> Iterator[Finding]:
    """Everything, the machine first, the model last."""
    yield Finding("ok", "python", platform.python_version())
    for module in NEEDED:
        yield _package(module)
    yield _providers()
    yield from _ros()
    yield _model(model)


def versions() -> list[tuple[str, str]]:
    """Name and version of what a report of a fault should tell."""
    rows = [("emollama", __version__), ("python", platform.python_version()), ("machine", f"{platform.system()} {platform.machine()}")]
    return rows + [(module, _version(module) or "not installed") for module in ("onnxruntime", "numpy", "av")]


def _version(module: str) -> str | None:
    for name in NEEDED[module]:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown version" if _found(module) else None


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent of a dotted name is missing
        return False


def _package(module: str) -> Finding:
    version = _version(module)
    if version is None:
        return Finding("problem", module, f"is not installed; pip install {NEEDED[module][0]}")
    return Finding("ok", module, version)


def _providers() -> Finding:
    try:
        import onnxruntime
    except ImportError as error:
        return Finding("problem", "providers", f"onnxruntime cannot be loaded ({error}); pip install onnxruntime")
    providers = onnxruntime.get_available_providers()
    if not any("CUDA" in name or "Tensorrt" in name for name in providers):
        return Finding("note", "providers", f"{', '.join(providers)}; for an NVIDIA GPU: pip install onnxruntime-gpu")
    return Finding("ok", "providers", ", ".join(providers))


def _ros() -> Iterator[Finding]:
    if not _found("rclpy"):
        yield Finding(
            "note", "ros", "rclpy is not there, analyze works without; for the nodes: make setup, or source /opt/ros/*/setup.bash"
        )
        return
    yield Finding("ok", "ros", f"rclpy found, distribution {os.environ.get('ROS_DISTRO', 'not named')}")
    if _found("emollama.msg"):
        yield Finding("ok", "messages", "found")
    else:
        yield Finding("note", "messages", "emollama.msg is not there; build it: make setup, or colcon build and source install/setup.bash")


def _model(name: str) -> Finding:
    try:
        folder = open_folder(find_model(name))
        folder.verify()
    except ModelFolderError as error:
        return Finding("problem", "model", str(error))
    return Finding("ok", "model", f"{folder.model_id}, {len(folder.manifest.files)} files as in the manifest, {folder.root}")
