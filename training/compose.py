"""Views with somebody, with something else, or with nobody: what the locator learns to search.

All in luminance, at the locator's own resolution. A face is a picture of the data set blended into a drawn or photographed background
through a soft oval, often with drawn hair, neck and shoulders, so that neither a border nor an oval is the cue: the same ovals hold
scrambled faces and textures as often, and those are nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.float32]
PADDING = 114 / 255
PHOTOGRAPHS = ("coffee", "chelsea", "rocket", "coins", "page", "brick", "grass", "gravel", "text", "clock", "moon", "immunohistochemistry")


class View(NamedTuple):
    """picture (S, S) float32 in [0, 1]; boxes (K, 3): centre x, centre y, height of each face, as fractions of the side."""

    picture: Grey
    boxes: npt.NDArray[np.float32]


@dataclass(frozen=True)
class ViewOptions:
    """Chances of what is in a view; heights as fractions of its side.

    filling  where somebody is there, the picture is that face and nothing else
    """

    nobody: float = 0.35
    filling: float = 0.0
    second_face: float = 0.08
    distractors: float = 0.6
    min_height: float = 0.09
    max_height: float = 1.25


TRAINED_ON = ViewOptions(filling=0.1)
"""A camera may send faces that were cut out, and an edge of the picture near a face then says how large it is."""


@cache
def photographs() -> tuple[Grey, ...]:
    """Pictures without people that ship inside scikit-image and scikit-learn, in luminance."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    pictures = [np.asarray(getattr(skimage.data, name)()) for name in PHOTOGRAPHS] + list(load_sample_images().images)
    return tuple((p if p.ndim == 2 else p[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(np.float32) / 255 for p in pictures)


def fractal(rng: np.random.Generator, side: int) -> Grey:
    """Noise of several sizes, like plaster, foliage or cloth."""
    total = np.zeros((side, side), np.float32)
    slope = rng.uniform(0.4, 1.0)
    for level in range(1, 7):
        cells = 2**level
        total += slope**level * cv2.resize(
            rng.standard_normal((cells, cells)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
        )
    return total


def background(rng: np.random.Generator, side: int) -> Grey:
    kind = rng.random()
    if kind < 0.4:
        picture = photographs()[rng.integers(len(photographs()))]
        size = int(rng.integers(min(96, min(picture.shape) - 1), min(picture.shape)))
        top, left = rng.integers(0, picture.shape[0] - size + 1), rng.integers(0, picture.shape[1] - size + 1)
        canvas = cv2.resize(picture[top : top + size, left : left + size], (side, side), interpolation=cv2.INTER_AREA)
        canvas = canvas[:, ::-1].copy() if rng.random() < 0.5 else canvas
    else:
        ramp = np.linspace(-1, 1, side, dtype=np.float32)
        canvas = rng.uniform(0.1, 0.9) + rng.normal(0, 0.2) * ramp[None] + rng.normal(0, 0.2) * ramp[:, None]
        if kind < 0.85:
            canvas = canvas + rng.uniform(0.02, 0.3) * fractal(rng, side)
    canvas = np.ascontiguousarray(canvas, np.float32)
    for _ in range(int(rng.integers(0, 6))):
        clutter(canvas, rng)
    return canvas.clip(0, 1)


def clutter(canvas: Grey, rng: np.random.Generator) -> None:
    """One rectangle, line, disc or grid: furniture, windows, lamps."""
    side = canvas.shape[0]
    shade = float(rng.uniform(0, 1))
    first, second = rng.integers(-20, side + 20, 2), rng.integers(-20, side + 20, 2)
    kind = rng.choice(4, p=[0.4, 0.25, 0.3, 0.05])
    if kind == 0:
        cv2.rectangle(canvas, first.tolist(), second.tolist(), shade, -1 if rng.random() < 0.5 else int(rng.integers(1, 5)))
    elif kind == 1:
        cv2.line(canvas, first.tolist(), second.tolist(), shade, int(rng.integers(1, 8)))
    elif kind == 2:
        cv2.circle(canvas, first.tolist(), int(rng.integers(2, side // 3)), shade, -1 if rng.random() < 0.7 else 2)
    else:
        step = int(rng.integers(4, 24))
        canvas[::step, :] = 0.5 * canvas[::step, :] + 0.5 * shade


def as_rgb(picture: Grey) -> npt.NDArray[np.uint8]:
    """(H, W) in [0, 1] → (H, W, 3), as a camera gives it."""
    return np.repeat((picture * 255).round().astype(np.uint8)[..., None], 3, axis=2)


def oval(side: int, rng: np.random.Generator) -> Grey:
    """A soft mask (side, side) in [0, 1]; sometimes nearly the whole square."""
    grid = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    power = rng.choice([2.0, 2.0, 2.5, 4.0])
    reach = (np.abs(grid[None] / rng.uniform(0.78, 1.0)) ** power + np.abs(grid[:, None] / rng.uniform(0.9, 1.05)) ** power) ** (1 / power)
    softness = rng.uniform(0.05, 0.35)
    return np.clip((1 - reach) / softness, 0, 1).astype(np.float32)


def body(canvas: Grey, x: float, y: float, height: float, rng: np.random.Generator) -> None:
    """Hair behind, neck and shoulders below: what surrounds a face in a camera's view. All in pixels."""
    half, tone = height / 2, float(rng.uniform(0.02, 0.9))
    skin = float(rng.uniform(0.25, 0.85))
    shoulders = (round(x + rng.normal(0, 0.1) * height), round(y + height * rng.uniform(1.1, 1.5)))
    cv2.ellipse(
        canvas,
        shoulders,
        (round(height * rng.uniform(0.9, 1.5)), round(height * rng.uniform(0.55, 0.9))),
        0,
        180,
        360,
        float(rng.uniform(0, 1)),
        -1,
    )
    cv2.rectangle(canvas, (round(x - half * 0.5), round(y)), (round(x + half * 0.5), round(y + height * 0.8)), skin * 0.9, -1)
    if rng.random() < 0.8:
        axes = (round(half * rng.uniform(0.95, 1.35)), round(half * rng.uniform(1.1, 1.6)))
        cv2.ellipse(canvas, (round(x), round(y - height * rng.uniform(0.0, 0.15))), axes, 0, 0, 360, tone, -1)


def paste(canvas: Grey, patch: Grey, x: float, y: float, height: float, rng: np.random.Generator) -> None:
    """Blend a face-sized patch in place, its centre at (x, y) pixels, `height` pixels high, slightly turned."""
    turn = cv2.getRotationMatrix2D((patch.shape[1] / 2, patch.shape[0] / 2), float(rng.uniform(-18, 18)), height / patch.shape[0])
    turn[0, 2] += x - patch.shape[1] / 2
    turn[1, 2] += y - patch.shape[0] / 2
    size = canvas.shape[::-1]
    if height < patch.shape[0]:
        patch = cv2.GaussianBlur(patch, (0, 0), 0.35 * patch.shape[0] / height)
    lit = (patch - patch.mean()) * rng.uniform(0.6, 1.3) + patch.mean() + rng.normal(0, 0.08)
    whole = height > 0.8 * canvas.shape[0] and rng.random() < 0.5  # a picture that is nothing but a face has no oval
    shape = np.ones_like(patch) if whole else oval(patch.shape[0], rng)
    mask = cv2.warpAffine(shape, turn, size, flags=cv2.INTER_LINEAR)
    face = cv2.warpAffine(lit.astype(np.float32), turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    canvas *= 1 - mask
    canvas += mask * face


def scrambled(patch: Grey, rng: np.random.Generator) -> Grey:
    """A face's texture without a face: tiles shuffled, upside down, or another texture of the same brightness."""
    kind = rng.random()
    if kind < 0.3:
        return np.ascontiguousarray(patch[::-1])
    side = patch.shape[0]
    if kind < 0.7:
        tiles = 3 if rng.random() < 0.5 else 4
        step = side // tiles
        order = rng.permutation(tiles * tiles)
        whole = patch[: step * tiles, : step * tiles].reshape(tiles, step, tiles, step).swapaxes(1, 2).reshape(-1, step, step)[order]
        return np.ascontiguousarray(whole.reshape(tiles, tiles, step, step).swapaxes(1, 2).reshape(step * tiles, -1))
    return (patch.mean() + patch.std() * 0.5 * fractal(rng, side)).clip(0, 1)


def compose(faces: npt.NDArray[np.uint8], rng: np.random.Generator, side: int, options: ViewOptions = ViewOptions()) -> View:
    """One view. `faces` are the (N, 48, 48) pictures to draw people from."""
    cv2.setNumThreads(1)
    canvas = background(rng, side)
    bands = letterbox(rng)
    pick = lambda: faces[rng.integers(len(faces))].astype(np.float32) / 255  # noqa: E731
    if rng.random() < options.distractors:
        for _ in range(int(rng.integers(1, 4))):
            x, y, height = (value * side for value in place(rng, options, bands))
            if rng.random() < 0.4:
                body(canvas, x, y, height, rng)
            paste(canvas, scrambled(pick(), rng), x, y, height, rng)
    boxes: list[tuple[float, float, float]] = []
    if rng.random() >= options.nobody:
        if options.filling and rng.random() < options.filling:
            return View(camera(cv2.resize(pick(), (side, side)), rng, (0.0, 0.0)), np.array([[0.5, 0.5, 1.0]], np.float32))
        for _ in range(1 + int(rng.random() < options.second_face)):
            x, y, height = place(rng, options, bands)
            if any(abs(x - other[0]) + abs(y - other[1]) < 0.8 * (height + other[2]) for other in boxes):
                continue
            if rng.random() < 0.75:
                body(canvas, x * side, y * side, height * side, rng)
            paste(canvas, pick(), x * side, y * side, height * side, rng)
            boxes.append((x, y, height))
    return View(camera(canvas, rng, bands), np.array(boxes, np.float32).reshape(-1, 3))


def letterbox(rng: np.random.Generator) -> tuple[float, float]:
    """Shares of the canvas left grey at top and bottom, and left and right, as pictures of the usual proportions leave it."""
    if rng.random() < 0.25:
        return 0.0, 0.0
    band = float(rng.choice([0.125, 0.21875, 0.0625]))  # 4:3, 16:9, 8:7
    return (band, 0.0) if rng.random() < 0.85 else (0.0, band)


def place(rng: np.random.Generator, options: ViewOptions, bands: tuple[float, float]) -> tuple[float, float, float]:
    """Centre x, centre y and height of something face-sized inside the picture; at most a sixth of it may be cut off."""
    largest = options.max_height * (1 - 2 * bands[0])
    height = float(np.exp(rng.uniform(np.log(options.min_height), np.log(largest))))
    inner = 0.34 * height
    x = rng.uniform(bands[1] + inner, 1 - bands[1] - inner) if 2 * (bands[1] + inner) < 1 else 0.5
    y = rng.uniform(bands[0] + inner, 1 - bands[0] - inner) if 2 * (bands[0] + inner) < 1 else 0.5
    return float(x), float(y), height


def camera(canvas: Grey, rng: np.random.Generator, bands: tuple[float, float]) -> Grey:
    """Gamma, blur, noise, compression; letterbox bands as the canvas of a wide or tall picture has them."""
    side = canvas.shape[0]
    canvas = canvas.clip(0, 1) ** np.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.3:
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.4, 1.2))
    canvas = canvas * rng.uniform(0.6, 1.1) + rng.normal(0, 1, canvas.shape) * rng.uniform(0, 0.04)
    if rng.random() < 0.3:
        coded = cv2.imencode(".jpg", (canvas.clip(0, 1) * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 80))])[1]
        canvas = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
    canvas = canvas.astype(np.float32)
    for target, share in ((canvas, bands[0]), (canvas.T, bands[1])):
        band = round(share * side)
        target[:band] = PADDING
        target[side - band :] = PADDING
    return canvas.clip(0, 1)
