"""What can be measured of a face: 468 landmarks, and distances between them.

In:  a grey picture that a face fills.
Out: one number a name of FACE_MEASURES, NaN where no face is found.
The landmarks are MediaPipe's FaceMesh (arXiv 1907.06724), whose network lies inside the wheel of mediapipe 0.10.21; it is read from there
and run by LiteRT, so that mediapipe itself, which asks for an old NumPy, is not needed. Its points have a depth: distances are taken in
three dimensions, along axes of the head, so that they depend little on where the head turns.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

LANDMARK_MODEL = Path(".landmarks/mediapipe/modules/face_landmark/face_landmark.tflite")
FACE_MEASURES = (  # all in distances between the outer corners of the eyes, but eye_opening
    "brow_height",  # brows above the corners of the eyes
    "brow_gap",  # between the inner ends of the brows
    "eye_opening",  # between the lids, in widths of the eye
    "mouth_opening",  # between the lips
    "mouth_width",  # between the corners of the mouth
    "lip_corners",  # corners of the mouth above the line between the lips
)
SIDE = 192  # pixels the network sees
BORDERS = (1.5, 1.25, 1.9)  # first look, in sides of the picture: the network expects a face with room around it
ROOM = 1.5  # the second look, in heights of the face
SURE = 0.5

RIGHT_EYE, LEFT_EYE = (33, 133), (263, 362)  # outer and inner corner
RIGHT_LIDS, LEFT_LIDS = ((160, 144), (159, 145), (158, 153)), ((385, 380), (386, 374), (387, 373))
BROWS = (105, 66, 52, 65, 334, 296, 282, 295)
INNER_BROWS = ((55, 107), (285, 336))
MOUTH_CORNERS, UPPER_LIP, LOWER_LIP = (61, 291), 13, 14
NOSE_BRIDGE, NOSE_BASE = 168, 2

Points = npt.NDArray[np.float64]


class Landmarks:
    """FaceMesh over single pictures. FileNotFoundError or ImportError with the cure."""

    def __init__(self, model: Path = LANDMARK_MODEL) -> None:
        if not model.is_file():
            raise FileNotFoundError(f"no landmark model {model}; get it: make landmarks, or give --landmarks FILE")
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ImportError("faces are measured with LiteRT; install it: pip install ai-edge-litert") from error
        self._network = Interpreter(str(model), num_threads=1)
        self._network.allocate_tensors()
        self._input = self._network.get_input_details()[0]["index"]
        sizes = {detail["index"]: int(np.prod(detail["shape"])) for detail in self._network.get_output_details()}
        self._points, self._score = max(sizes, key=lambda i: sizes[i]), min(sizes, key=lambda i: sizes[i])

    def find(self, picture: npt.NDArray[np.uint8]) -> Points | None:
        """(H, W) uint8 → (468, 3) points in pixels of an upright frame; None without a face. The first look shows where to look again."""
        height, width = picture.shape
        for border in BORDERS:
            size = border * max(height, width)
            points, score, transform = self._look(picture, (width / 2, height / 2), size, 0.0)
            if score > SURE:
                back = cv2.invertAffineTransform(transform)
                flat = points[:, :2] @ back[:, :2].T + back[:, 2]
                eyes = flat[LEFT_EYE[0]] - flat[RIGHT_EYE[0]]
                low, high = flat.min(axis=0), flat.max(axis=0)
                centre, size = (low + high) / 2, ROOM * float((high - low).max())
                points, score, _ = self._look(picture, tuple(centre), size, float(np.arctan2(eyes[1], eyes[0])))
                if score > SURE:
                    return points
        return None

    def _look(
        self, picture: npt.NDArray[np.uint8], centre: tuple[float, float], size: float, angle: float
    ) -> tuple[Points, float, npt.NDArray[np.float64]]:
        """Points in the network's pixels, how sure it is, and the transform that led there."""
        scale = SIDE / size
        cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
        turn = np.array([[cosine, sine], [-sine, cosine]])
        transform = np.column_stack([turn, SIDE / 2 - turn @ centre])
        looked = cv2.warpAffine(picture, transform, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        self._network.set_tensor(self._input, np.repeat(looked[None, ..., None], 3, axis=3).astype(np.float32) / 255)
        self._network.invoke()
        score = 1 / (1 + np.exp(-float(self._network.get_tensor(self._score).ravel()[0])))
        return self._network.get_tensor(self._points).reshape(-1, 3).astype(np.float64), float(score), transform

    def measure(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(H, W) uint8 → (M,) float32 in the order of FACE_MEASURES."""
        points = self.find(picture)
        return np.full(len(FACE_MEASURES), np.nan, np.float32) if points is None else measures_of(points)


def measures_of(points: Points) -> npt.NDArray[np.float32]:
    """(468, 3) points → (M,) float32. Sizes, places and turns of the head cancel."""
    across = points[LEFT_EYE[0]] - points[RIGHT_EYE[0]]
    unit = float(np.linalg.norm(across))
    if not np.isfinite(unit) or unit <= 0:
        return np.full(len(FACE_MEASURES), np.nan, np.float32)
    across = across / unit
    down = points[NOSE_BASE] - points[NOSE_BRIDGE]
    down = down - (down @ across) * across
    down = down / (np.linalg.norm(down) + 1e-9)

    def depth(places: tuple[int, ...]) -> float:
        return float((points[list(places)] @ down).mean()) / unit

    def apart(first: int, second: int) -> float:
        return float(np.linalg.norm(points[first] - points[second])) / unit

    inner = [float((points[list(places)] @ across).mean()) / unit for places in INNER_BROWS]
    lids = np.mean([apart(*pair) for pair in (*RIGHT_LIDS, *LEFT_LIDS)]) * 2 / (apart(*RIGHT_EYE) + apart(*LEFT_EYE))
    # A quarter of the way down from the upper lip: there the line moves least when the jaw drops, and smiles are told best.
    between = 0.75 * depth((UPPER_LIP,)) + 0.25 * depth((LOWER_LIP,))
    return np.array(
        [
            depth((*RIGHT_EYE, *LEFT_EYE)) - depth(BROWS),
            inner[1] - inner[0],
            lids,
            apart(UPPER_LIP, LOWER_LIP),
            apart(*MOUTH_CORNERS),
            between - depth(MOUTH_CORNERS),
        ],
        np.float32,
    )
