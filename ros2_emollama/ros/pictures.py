"""sensor_msgs/Image and CompressedImage → RGB, by table; a row is an encoding.

In:  anything with the message's fields (height, width, encoding, step, is_bigendian, data).
Out: (H, W, 3) uint8 RGB.
A message that cannot be read raises `BadMessage` with its cause. Pure: no rclpy. cv_bridge is not used, it breaks on NumPy 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..types import UInt8
from .bad_message import BadMessage
from .picture_size import picture_size

Array = npt.NDArray[Any]
MAX_SIDE = 16384  # pixels; a larger claim is a broken message, not a camera
MAX_PIXELS = 2**25  # of a coded picture, a little over 8K; what is not coded must bring its bytes along


@dataclass(frozen=True)
class Encoding:
    """How one encoding lies in memory, and the way from there to RGB.

    channels, dtype  of one pixel as stored
    rows             rows stored for two picture rows: 2, or 3 where a chroma plane follows the luma plane
    to_rgb           (rows, W[, channels]) array -> (H, W, 3) uint8
    even             height and width must be even (chroma is shared between neighbours)
    """

    channels: int
    dtype: type[np.generic]
    to_rgb: Callable[[Array], Array]
    rows: int = 2
    even: bool = False


def _cv(code: int) -> Callable[[Array], Array]:
    def convert(stored: Array) -> Array:
        rgb: Array = cv2.cvtColor(np.ascontiguousarray(stored), code)
        return rgb

    return convert


def _high_byte(code: int) -> Callable[[Array], Array]:
    def convert(stored: Array) -> Array:
        rgb: Array = cv2.cvtColor((stored >> 8).astype(np.uint8), code)
        return rgb

    return convert


def _table() -> dict[str, Encoding]:
    u8, u16 = np.uint8, np.uint16
    table = {
        "rgb8": Encoding(3, u8, np.ascontiguousarray),
        "bgr8": Encoding(3, u8, _cv(cv2.COLOR_BGR2RGB)),
        "rgba8": Encoding(4, u8, _cv(cv2.COLOR_RGBA2RGB)),
        "bgra8": Encoding(4, u8, _cv(cv2.COLOR_BGRA2RGB)),
        "mono8": Encoding(1, u8, _cv(cv2.COLOR_GRAY2RGB)),
        "mono16": Encoding(1, u16, _high_byte(cv2.COLOR_GRAY2RGB)),
        "yuv422": Encoding(2, u8, _cv(cv2.COLOR_YUV2RGB_UYVY), even=True),
        "yuv422_yuy2": Encoding(2, u8, _cv(cv2.COLOR_YUV2RGB_YUY2), even=True),
        "nv12": Encoding(1, u8, _cv(cv2.COLOR_YUV2RGB_NV12), rows=3, even=True),
        "nv21": Encoding(1, u8, _cv(cv2.COLOR_YUV2RGB_NV21), rows=3, even=True),
    }
    # OpenCV names a mosaic by its second row, ROS by its first.
    for pattern, code in (
        ("rggb", cv2.COLOR_BayerBG2RGB),
        ("bggr", cv2.COLOR_BayerRG2RGB),
        ("gbrg", cv2.COLOR_BayerGR2RGB),
        ("grbg", cv2.COLOR_BayerGB2RGB),
    ):
        table[f"bayer_{pattern}8"] = Encoding(1, u8, _cv(code), even=True)
        table[f"bayer_{pattern}16"] = Encoding(1, u16, _high_byte(code), even=True)
    aliases = {"8UC1": "mono8", "16UC1": "mono16", "8UC3": "bgr8", "8UC4": "bgra8"}
    aliases |= {"uyvy": "yuv422", "yuy2": "yuv422_yuy2", "yuyv": "yuv422_yuy2"}
    return table | {alias: table[name] for alias, name in aliases.items()}


ENCODINGS = _table()


def image_to_rgb(message: Any) -> UInt8:
    """An Image's pixels. BadMessage: image_encoding, image_size, image_data_short."""
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise BadMessage("image_encoding", f"unknown image encoding {message.encoding!r}; one of {', '.join(sorted(ENCODINGS))}")
    height, width = int(message.height), int(message.width)
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE) or (encoding.even and (height % 2 or width % 2)):
        raise BadMessage("image_size", f"a picture of {width} x {height} in {message.encoding} cannot be; check the camera driver")
    rgb: UInt8 = encoding.to_rgb(_stored(message, encoding, height * encoding.rows // 2, width))
    return rgb


def _stored(message: Any, encoding: Encoding, rows: int, width: int) -> Array:
    """The stored rows without their padding, in this machine's byte order; a view where possible."""
    item = np.dtype(encoding.dtype)
    line = width * encoding.channels * item.itemsize
    step = int(message.step) or line
    data = np.frombuffer(message.data, np.uint8)
    if step < line or data.size < step * (rows - 1) + line:
        raise BadMessage(
            "image_data_short",
            f"{message.encoding} of {width} x {message.height} needs {line} bytes a row and {step * (rows - 1) + line} in all, "
            f"got step {message.step} and {data.size} bytes; check the camera driver",
        )
    if data.size >= step * rows:
        packed = np.ascontiguousarray(data[: step * rows].reshape(rows, step)[:, :line])
    else:  # the last row may come without its padding
        packed = np.empty((rows, line), np.uint8)
        packed[:-1] = data[: step * (rows - 1)].reshape(rows - 1, step)[:, :line]
        packed[-1] = data[step * (rows - 1) :][:line]
    values = packed.view(item.newbyteorder(">" if message.is_bigendian else "<")).astype(item, copy=False)
    shaped: Array = values.reshape(rows, width, encoding.channels) if encoding.channels > 1 else values
    return shaped


def compressed_to_rgb(message: Any) -> UInt8:
    """A CompressedImage's pixels: JPEG, PNG or WebP, whatever its format field says. BadMessage: image_undecodable, image_size."""
    data = np.frombuffer(message.data, np.uint8)
    size = picture_size(data.tobytes())
    if size is None:
        raise BadMessage("image_undecodable", f"{data.size} bytes ({message.format!r}) are no JPEG, PNG or WebP; check the camera driver")
    if not 0 < size[0] * size[1] <= MAX_PIXELS:
        raise BadMessage("image_size", f"a coded picture of {size[0]} x {size[1]} is refused; send at most {MAX_PIXELS} pixels")
    try:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:  # mostly it gives None instead
        picture = None
    if picture is None:
        raise BadMessage("image_undecodable", f"{data.size} bytes of format {message.format!r} are no picture; check the camera driver")
    rgb: UInt8 = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return rgb
