"""Which TensorRT: the full one (`tensorrt`, 10.x or 11.x; Jetson and servers) or TensorRT for RTX (`tensorrt_rtx`, desktop cards).

Both have one Python interface as long as networks are strongly typed and nothing is asked of precision flags, calibrators or plug-ins,
which 11 removed. So this is the only place that knows which of them runs.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from .base import RuntimeUnavailable

FLAVORS = ("tensorrt", "tensorrt_rtx")
INSTALL = {
    "tensorrt": "pip install tensorrt (on a Jetson it is part of JetPack: sudo apt install python3-libnvinfer)",
    "tensorrt_rtx": "pip install tensorrt-rtx",
}
OLDEST = (10, 0)  # of the full one: int4 weights and strong typing in the parser
RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""Compute capabilities that TensorRT for RTX 1.7 has a target for. Not 8.7 (Orin) and not 11.0 (Thor): Jetsons take the full one."""


@dataclass(frozen=True)
class Flavor:
    """`name` is one of FLAVORS; `trt` is its module."""

    name: str
    version: str
    trt: Any

    @property
    def is_rtx(self) -> bool:
        return self.name == "tensorrt_rtx"


def find_flavor(name: str = "auto") -> Flavor:
    """Load one of FLAVORS; "auto": the first that can be loaded. RuntimeUnavailable with the cure."""
    if name != "auto" and name not in FLAVORS:
        raise RuntimeUnavailable(f"no TensorRT flavor {name!r}; choose auto, {' or '.join(FLAVORS)}")
    reasons = []
    for candidate in FLAVORS if name == "auto" else (name,):
        try:
            trt = importlib.import_module(candidate)
        except (ImportError, OSError) as error:  # OSError: a library that its package lacks
            reasons.append(f"{candidate} cannot be loaded ({error})")
            continue
        version = str(trt.__version__)
        if candidate == "tensorrt" and tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            reasons.append(f"tensorrt {version} is older than {'.'.join(map(str, OLDEST))}")
            continue
        return Flavor(candidate, version, trt)
    cure = " or ".join(INSTALL[candidate] for candidate in (FLAVORS if name == "auto" else (name,)))
    raise RuntimeUnavailable(f"{'; '.join(reasons)}; install it: {cure}")
