"""Width and height of a coded picture from its header, before anything is decoded: a few bytes may claim gigabytes.

JPEG (ITU T.81), PNG (ISO 15948) and WebP (RFC 9649). Pure.
"""

from __future__ import annotations

JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn; the three are tables and reserved
JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length


def picture_size(data: bytes) -> tuple[int, int] | None:
    """(width, height); None where it is none of the three, or its header is cut or damaged."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        return _png(data)
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp(data[12:16], data[20:30])
    return None


def _png(data: bytes) -> tuple[int, int] | None:
    at, kind = 8, b""
    while at + 8 <= len(data) and kind != b"IEND":  # decoders make room for what a chunk claims before they look whether it came
        kind = data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) if at <= len(data) else None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 9 <= len(data):
        marker = data[at + 1]
        if marker in JPEG_FRAMES:
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        if marker in (0xD9, 0xDA):  # the end, or the samples: no frame came before them
            return None
        bare = marker in JPEG_BARE or marker in (0x00, 0xFF)
        at += 1 if bare else 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return None


def _webp(kind: bytes, body: bytes) -> tuple[int, int] | None:
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return None
