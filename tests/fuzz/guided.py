"""The same targets, led by coverage: `python -m tests.fuzz.guided TARGET [libFuzzer options]`. Needs atheris: pip install atheris

Atheris sees which lines of ours an input reaches (not those of OpenCV, FFmpeg or rclpy, which are built without it) and keeps what reaches
new ones. Its bytes take the place of the random generator, so all targets serve as they are. It stops at the first failure and names a file
with the bytes; give that file in the place of options to try it again.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence


class Fed(random.Random):
    """Draws from given bytes, and zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data, self._at = data, 0

    def getrandbits(self, bits: int, /) -> int:
        size = -(-bits // 8)
        taken = self._data[self._at : self._at + size].ljust(size, b"\0")
        self._at += size
        return int.from_bytes(taken, "little") >> (8 * size - bits)

    def random(self) -> float:
        return self.getrandbits(32) / 2**32


def main(argv: Sequence[str]) -> int:
    try:
        import atheris
    except ImportError:
        print("error: atheris is not installed; pip install atheris", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["ros2_emollama"]):
        from tests.fuzz import engine
        from tests.fuzz.__main__ import all_targets
    chosen = [target for target in all_targets() if argv and argv[0] == target.name]
    if not chosen:
        print("error: name a target: " + ", ".join(target.name for target in all_targets()), file=sys.stderr)
        return 2
    target = chosen[0]

    def one(data: bytes) -> None:
        assert target.attempt(target.make(Fed(data))), engine.SILENCE

    with engine.workplace():
        child = os.fork()  # libFuzzer leaves without a word to Python, and somebody must clear the folder up
        if not child:
            atheris.Setup([sys.argv[0], *argv[1:]], one)
            atheris.Fuzz()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
