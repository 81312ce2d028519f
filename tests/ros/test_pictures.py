"""Every image encoding becomes the same RGB picture, within what the encoding can carry; broken messages say why."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros2_emollama.ros.bad_message import BadMessage
from ros2_emollama.ros.picture_size import picture_size
from ros2_emollama.ros.pictures import ENCODINGS, compressed_to_rgb, image_to_rgb

HEIGHT, WIDTH = 12, 16
MOSAIC = {"r": 0, "g": 1, "b": 2}


def scene() -> np.ndarray:
    """Four large even-sided patches of saturated colour: any swap of channels or rows shows."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:6, :8], picture[:6, 8:], picture[6:, :8], picture[6:, 8:] = (220, 30, 40), (40, 200, 60), (50, 60, 210), (180, 170, 30)
    return picture


def luma_chroma(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BT.601 studio range, from the definition and not from OpenCV."""
    red, green, blue = (rgb[..., channel].astype(float) for channel in range(3))
    luma = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
    blueness = 128 - 0.148 * red - 0.291 * green + 0.439 * blue
    redness = 128 + 0.439 * red - 0.368 * green - 0.071 * blue
    return tuple(np.clip(np.round(plane), 0, 255).astype(np.uint8) for plane in (luma, blueness, redness))  # type: ignore[return-value]


def packed_422(rgb: np.ndarray, order: str) -> np.ndarray:
    luma, blueness, redness = luma_chroma(rgb)
    stored = np.zeros((HEIGHT, WIDTH, 2), np.uint8)
    stored[..., order.index("Y")] = luma
    stored[:, 0::2, order.index("C")] = blueness[:, 0::2]
    stored[:, 1::2, order.index("C")] = redness[:, 0::2]
    return stored


def planar_420(rgb: np.ndarray, first: str) -> np.ndarray:
    luma, blueness, redness = luma_chroma(rgb)
    even, odd = (blueness, redness) if first == "u" else (redness, blueness)
    chroma = np.zeros((HEIGHT // 2, WIDTH), np.uint8)
    chroma[:, 0::2], chroma[:, 1::2] = even[::2, ::2], odd[::2, ::2]
    return np.vstack([luma, chroma])


def mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    stored = np.zeros((HEIGHT, WIDTH), np.uint8)
    for place, colour in enumerate(pattern):
        row, column = divmod(place, 2)
        stored[row::2, column::2] = rgb[row::2, column::2, MOSAIC[colour]]
    return stored


def gray(rgb: np.ndarray) -> np.ndarray:
    return np.round(rgb.astype(float) @ [0.299, 0.587, 0.114]).astype(np.uint8)


def stored_as(encoding: str) -> np.ndarray:
    rgb = scene()
    alpha = np.full((HEIGHT, WIDTH, 1), 77, np.uint8)
    table: dict[str, Any] = {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "rgba8": np.concatenate([rgb, alpha], axis=2),
        "bgra8": np.concatenate([rgb[..., ::-1], alpha], axis=2),
        "mono8": gray(rgb),
        "mono16": gray(rgb).astype(np.uint16) * 257,
        "yuv422": packed_422(rgb, "CY"),
        "yuv422_yuy2": packed_422(rgb, "YC"),
        "nv12": planar_420(rgb, "u"),
        "nv21": planar_420(rgb, "v"),
    }
    for pattern in ("rggb", "bggr", "gbrg", "grbg"):
        table[f"bayer_{pattern}8"] = mosaic(rgb, pattern)
        table[f"bayer_{pattern}16"] = mosaic(rgb, pattern).astype(np.uint16) * 257
    table |= {"8UC1": table["mono8"], "16UC1": table["mono16"], "8UC3": table["bgr8"], "8UC4": table["bgra8"]}
    table |= {"uyvy": table["yuv422"], "yuy2": table["yuv422_yuy2"], "yuyv": table["yuv422_yuy2"]}
    return np.ascontiguousarray(table[encoding])


def message(encoding: str, stored: np.ndarray, padding: int = 0, big: bool = False) -> SimpleNamespace:
    if stored.dtype == np.uint16:
        stored = stored.astype(">u2" if big else "<u2")
    lines = stored.reshape(stored.shape[0], -1).view(np.uint8)
    padded = np.pad(lines, ((0, 0), (0, padding)), constant_values=199)
    return SimpleNamespace(
        height=HEIGHT, width=WIDTH, encoding=encoding, step=padded.shape[1], is_bigendian=int(big), data=padded.tobytes()
    )


def expected(encoding: str) -> np.ndarray:
    monochrome = encoding.startswith(("mono", "8UC1", "16UC1"))
    return np.repeat(gray(scene())[..., None], 3, axis=2) if monochrome else scene()


INSIDE = np.zeros((HEIGHT, WIDTH), bool)
INSIDE[2:4, 2:6] = INSIDE[2:4, 10:14] = INSIDE[8:10, 2:6] = INSIDE[8:10, 10:14] = True  # demosaicing blurs the borders of patches


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
@pytest.mark.parametrize("padding", [0, 6])
def test_every_encoding_gives_the_same_picture(encoding: str, padding: int) -> None:
    rgb = image_to_rgb(message(encoding, stored_as(encoding), padding))
    assert rgb.shape == (HEIGHT, WIDTH, 3) and rgb.dtype == np.uint8 and rgb.flags.c_contiguous
    difference = np.abs(rgb.astype(int) - expected(encoding))[INSIDE]
    assert difference.max() <= 4, f"{encoding} is off by {difference.max()}"  # studio-range YUV rounds by as much


@pytest.mark.parametrize("encoding", ["mono16", "bayer_rggb16"])
def test_big_endian_pixels_are_swapped(encoding: str) -> None:
    small, big = (image_to_rgb(message(encoding, stored_as(encoding), big=big)) for big in (False, True))
    assert np.array_equal(small, big)


def test_the_last_row_may_come_without_its_padding() -> None:
    whole = message("rgb8", scene(), padding=8)
    cut = SimpleNamespace(**{**vars(whole), "data": whole.data[:-8]})
    assert np.array_equal(image_to_rgb(cut), scene())


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"encoding": "rgb565"}, "image_encoding"),
        ({"data": b"\x00" * 40}, "image_data_short"),
        ({"data": b""}, "image_data_short"),
        ({"step": 5}, "image_data_short"),
        ({"height": 0}, "image_size"),
        ({"width": 1 << 31}, "image_size"),
        ({"encoding": "nv12", "height": 11}, "image_size"),
    ],
)
def test_broken_pictures_say_why(change: dict[str, Any], cause: str) -> None:
    good = message("rgb8", scene())
    with pytest.raises(BadMessage) as caught:
        image_to_rgb(SimpleNamespace(**{**vars(good), **change}))
    assert caught.value.cause == cause


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_compressed_pictures_are_rgb(suffix: str) -> None:
    large = scene().repeat(8, axis=0).repeat(8, axis=1)
    _, data = cv2.imencode(suffix, large[..., ::-1])
    rgb = compressed_to_rgb(SimpleNamespace(format=suffix[1:], data=data.tobytes()))
    assert np.abs(rgb[24, 32].astype(int) - (220, 30, 40)).max() <= 6


def coded(suffix: str, *options: int, grey: bool = False) -> bytes:
    data: bytes = cv2.imencode(suffix, scene()[..., 0] if grey else scene(), list(options))[1].tobytes()
    return data


FORMS = [
    coded(".jpg"),
    coded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
    coded(".jpg", grey=True),
    coded(".png"),
    coded(".webp", cv2.IMWRITE_WEBP_QUALITY, 50),
    coded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
]


@pytest.mark.parametrize("data", FORMS)
def test_the_size_of_a_coded_picture_is_known_before_it_is_decoded(data: bytes) -> None:
    assert picture_size(data) == picture_size(data + bytes(40)) == (WIDTH, HEIGHT)
    for end in range(24):
        picture_size(data[:end])  # a cut header is no picture, and no exception


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "image_undecodable"),
        (b"no picture at all", "image_undecodable"),
        (FORMS[0][:40], "image_undecodable"),
        (coded(".bmp"), "image_undecodable"),
        (FORMS[0].replace(bytes([0, HEIGHT, 0, WIDTH]), b"\xff\xff\xff\xff"), "image_size"),
        (FORMS[3][:16] + b"\0\0\x7f\xff\0\0\x7f\xff" + FORMS[3][24:], "image_size"),
        (FORMS[3][:33] + b"\x7f\xff\xff\xffzTXt" + FORMS[3][33:], "image_undecodable"),  # a chunk that claims two gigabytes
    ],
)
def test_coded_pictures_that_cannot_be_read_or_held_say_why(data: bytes, cause: str) -> None:
    with pytest.raises(BadMessage) as caught:
        compressed_to_rgb(SimpleNamespace(format="jpeg", data=data))
    assert caught.value.cause == cause


def test_a_step_without_its_bytes_takes_no_memory() -> None:
    tracemalloc.start()
    row = SimpleNamespace(height=1, width=4, encoding="mono8", step=2**32 - 1, is_bigendian=0, data=bytes([1, 2, 3, 4]))
    assert image_to_rgb(row)[0, :, 0].tolist() == [1, 2, 3, 4]
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


FIELD = st.integers(0, 40) | st.sampled_from([2**31, 2**32 - 1, 16384, 16385])


@given(FIELD, FIELD, st.sampled_from([*sorted(ENCODINGS), "", "rgb565"]), FIELD, st.integers(0, 255), st.binary(max_size=2000))
def test_any_image_is_a_picture_or_a_refusal_with_a_cure(height: int, width: int, encoding: str, step: int, big: int, data: bytes) -> None:
    fields = SimpleNamespace(height=height, width=width, encoding=encoding, step=step, is_bigendian=big, data=data)
    try:
        assert image_to_rgb(fields).shape == (height, width, 3)
    except BadMessage as error:
        assert "; " in str(error)


@given(st.sampled_from(FORMS), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6), st.integers(0, 400))
def test_any_damage_to_a_coded_picture_leaves_a_picture_or_a_refusal(data: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(data[: len(data) - cut])
    for at, value in changes:
        if at < len(damaged):
            damaged[at] = value
    try:
        assert compressed_to_rgb(SimpleNamespace(format="jpeg", data=bytes(damaged))).shape[2] == 3
    except BadMessage as error:
        assert error.cause in ("image_undecodable", "image_size") and "; " in str(error)
