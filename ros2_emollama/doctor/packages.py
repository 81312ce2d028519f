"""Python and the packages a robot needs, with the ranges that are tested. Nothing is imported."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import sys
from collections.abc import Iterator

from .finding import Finding, ok, problem
from .machine import Machine

PYTHON = ((3, 10), (3, 13))
NEEDED = {
    "numpy": ("1.23", ("numpy",)),
    "cv2": ("4.6", ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")),
    "av": ("15", ("av",)),
    "soxr": ("0.3", ("soxr",)),
    "tokenizers": ("0.20", ("tokenizers",)),
    "safetensors": ("0.4", ("safetensors",)),
    "yaml": ("5.4", ("PyYAML",)),
    "threadpoolctl": ("3.0", ("threadpoolctl",)),
    "tqdm": ("4.60", ("tqdm",)),
    "onnxruntime": ("1.23", ("onnxruntime", "onnxruntime-gpu")),
}
"""Module -> the oldest version, as in pyproject.toml (a colcon workspace has no pyproject.toml to ask), and the distributions that may
bring it; the first one is the cure."""


def examine(machine: Machine) -> Iterator[Finding]:
    yield python(sys.version_info[:2])
    for module in NEEDED:
        yield package(module)


def python(version: tuple[int, int]) -> Finding:
    if not PYTHON[0] <= version < PYTHON[1]:
        least, most = (".".join(map(str, v)) for v in (PYTHON[0], (PYTHON[1][0], PYTHON[1][1] - 1)))
        found = ".".join(map(str, version))
        return problem("python", f"{found} is not what this was tested with, {least} to {most}", f"make setup PYTHON=python{most}")
    return ok("python", platform.python_version())


def package(module: str) -> Finding:
    """One of NEEDED: there, and new enough."""
    oldest, names = NEEDED[module]
    version = version_of(module)
    if version is None:
        return problem(module, "is not installed", f"pip install '{names[0]}>={oldest}'")
    if version and _release(version) < _release(oldest):
        return problem(module, f"{version} is older than {oldest}, the oldest that works", f"pip install --upgrade '{names[0]}>={oldest}'")
    return ok(module, version or "a version that is not told")


def version_of(module: str) -> str | None:
    """Its version, "" where it is there and does not say, None where it is not there."""
    for name in NEEDED[module][1] if module in NEEDED else (module,):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "" if found(module) else None


def found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent of a dotted name is missing
        return False


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"[\d.]+", version)
    return tuple(int(part) for part in match[0].strip(".").split(".")) if match else ()
