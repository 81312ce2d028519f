"""Ways to spoil what was good: bytes, numbers, texts, trees."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

EDGES = (0, 1, 2, 3, 4, 7, 8, 16, 100, 127, 128, 255, 256, 1023, 4096, 16384, 16385, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)
CHARACTERS = "aZ09 <>[]{}|\"'\\/:;,.-_\n\r\t\x00\x1b\x7f\u200b\u202e\u0301\ufeff\uff1c\uff3b\ud800é漢字😀ﷺ\U000e0041"


def spoiled(rng: random.Random, data: bytes, head: int = 0) -> bytes:
    """A few bytes changed (mostly among the first `head`, where lengths stand), pieces cut, doubled or put in."""
    changed = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 4, 16))):
        if not changed:
            break
        reach = min(head, len(changed)) if head and rng.random() < 0.7 else len(changed)
        at = rng.randrange(reach)
        act = rng.random()
        if act < 0.4:
            changed[at] = rng.choice(BYTES)
        elif act < 0.6:
            changed[at] ^= 1 << rng.randrange(8)
        elif act < 0.75:
            width = rng.choice((2, 4, 8))
            changed[at : at + width] = (rng.choice(EDGES) & (1 << 8 * width) - 1).to_bytes(width, rng.choice(("little", "big")))
        elif act < 0.85:
            del changed[at : at + rng.choice((1, 2, 4, 100, len(changed)))]
        elif act < 0.95:
            changed[at:at] = changed[at : at + rng.randrange(64)]
        else:
            changed[at:at] = rng.randbytes(rng.randrange(32))
    return bytes(changed)


def number(rng: random.Random, good: int, bits: int = 32, signed: bool = False) -> int:
    """The good one mostly; else an edge, a neighbour or anything the field can hold."""
    draw = rng.random()
    if draw < 0.8:
        return good
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    value = rng.choice(EDGES) if draw < 0.9 else good + rng.choice((-2, -1, 1, 2)) if draw < 0.95 else rng.randint(low, high)
    return min(max(-value if signed and rng.random() < 0.3 else value, low), high)


def text(rng: random.Random, good: Sequence[str] = (), longest: int = 60) -> str:
    """One of the good ones, a damaged one, or characters that mean trouble."""
    draw = rng.random()
    if good and draw < 0.6:
        return rng.choice(good)
    if good and draw < 0.75:
        word = rng.choice(good)
        at = rng.randrange(len(word) + 1)
        return word[:at] + rng.choice(CHARACTERS) + word[at + rng.randrange(2) :]
    return "".join(rng.choice(CHARACTERS) for _ in range(rng.randrange(longest)))


def leaf(rng: random.Random) -> Any:
    """Any scalar or small container a tree may hold."""
    makers: tuple[Callable[[], Any], ...] = (
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.choice(EDGES) * rng.choice((1, -1)),
        lambda: rng.choice((0.0, -1.5, 1e300, float("inf"), float("nan"))),
        lambda: text(rng),
        list,
        dict,
        lambda: [rng.choice(EDGES)],
        lambda: {text(rng): rng.choice(EDGES)},
        lambda: rng.choice(("../x", "/etc/passwd", "a" * 300, "x\x00y", ".", "", "con/../..", 10**40)),
    )
    return rng.choice(makers)()


def spoiled_tree(rng: random.Random, tree: Any) -> Any:
    """A copy of a tree of dicts and lists with one place changed."""
    if isinstance(tree, dict) and tree and rng.random() < 0.85:
        key = rng.choice(list(tree))
        act = rng.random()
        rest = {name: value for name, value in tree.items() if name != key}
        if act < 0.1:
            return rest
        if act < 0.2:
            return rest | {str(leaf(rng)): tree[key]}
        return {name: spoiled_tree(rng, value) if name == key else value for name, value in tree.items()}
    if isinstance(tree, list) and tree and rng.random() < 0.7:
        at = rng.randrange(len(tree))
        return [*tree[:at], spoiled_tree(rng, tree[at]), *tree[at + rng.randrange(2) :]]
    return leaf(rng)
