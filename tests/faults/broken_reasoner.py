"""The perception node with a language model that is broken as EMOLLAMA_FAULT says; one that is loaded later is sound.

hangs    its third explanation never returns
endless  it never says that it has finished
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ros2_emollama.reasoner import Reasoner
from ros2_emollama.ros import perception_node
from ros2_emollama.types import Explanation, Float32

EXPLAINED = 2


class Hanging(Reasoner):
    """Explains twice."""

    explained = itertools.count()

    def explain(self, *arguments: Any, **options: Any) -> Explanation:
        while next(self.explained) >= EXPLAINED:
            time.sleep(0.1)
        return super().explain(*arguments, **options)


class Endless(Reasoner):
    """Draws any token but the end."""

    def _next(self, logits: Float32, said: Sequence[int], temperature: float) -> int:
        without_end = logits.copy()
        without_end[self._end] = -np.inf
        return super()._next(without_end, said, temperature)


def main() -> int:
    broken = {"hangs": Hanging, "endless": Endless}[os.environ["EMOLLAMA_FAULT"]]
    load, made = perception_node.Pipeline.load, itertools.count()

    def load_broken(config: Any) -> Any:
        pipeline = load(config)
        if next(made) == 0:
            pipeline._reasoner.__class__ = broken
        return pipeline

    perception_node.Pipeline.load = load_broken  # type: ignore[method-assign, assignment]
    return perception_node.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
