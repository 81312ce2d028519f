"""What can be measured of a face in a view and of a voice, and how a person would put it into words.

Local agents that measure instead of guess: Praat (through parselmouth) for the pitch, plain energy for loudness and speaking time, geometry
for the face's size and place. The reading of the expression and of the tone is the data set's own label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 16000


@dataclass(frozen=True)
class VoiceMeasures:
    """pitch_hz, pitch_range_semitones: of voiced frames, NaN without any; level_dbfs: of the speaking part; active_share: of the window."""

    pitch_hz: float
    pitch_range_semitones: float
    level_dbfs: float
    active_share: float


@dataclass(frozen=True)
class Cues:
    """What may be said of one window; empty strings say nothing.

    face_reading, voice_reading   a label each
    face_size, face_place         "close", "far", "" and "left", "right", ""
    pitch, loudness, melody, pace   "high" "low" ""; "loud" "quiet" ""; "lively" "flat" ""; "brief" "steady" ""
    """

    face: bool
    speech: bool
    face_reading: str = ""
    voice_reading: str = ""
    face_size: str = ""
    face_place: str = ""
    pitch: str = ""
    loudness: str = ""
    melody: str = ""
    pace: str = ""


def measure_voice(samples: npt.NDArray[np.float32], active: npt.NDArray[np.float32]) -> VoiceMeasures:
    """Measures of one window; `active` marks the parts in which somebody speaks."""
    import parselmouth

    pitch = parselmouth.Sound(samples.astype(np.float64), SAMPLE_RATE_HZ).to_pitch(time_step=0.02, pitch_floor=70.0, pitch_ceiling=500.0)
    hertz = pitch.selected_array["frequency"]
    voiced = hertz[hertz > 0]
    spoken = np.square(samples).reshape(active.size, -1)[active > 0]
    level = 10 * np.log10(float(spoken.mean()) + 1e-10) if spoken.size else -100.0
    if voiced.size < 8:
        return VoiceMeasures(float("nan"), float("nan"), level, float(active.mean()))
    low, high = np.percentile(voiced, (10, 90))
    return VoiceMeasures(float(np.median(voiced)), float(12 * np.log2(high / low)), level, float(active.mean()))


@dataclass(frozen=True)
class VoiceNorm:
    """Thresholds between a word and its opposite: the lower and upper third of the corpus."""

    pitch_hz: tuple[float, float]
    pitch_range_semitones: tuple[float, float]

    @staticmethod
    def of(measures: list[VoiceMeasures]) -> VoiceNorm:
        def thirds(values: list[float]) -> tuple[float, float]:
            kept = [value for value in values if np.isfinite(value)]
            low, high = np.percentile(kept, (30, 70))
            return float(low), float(high)

        return VoiceNorm(thirds([m.pitch_hz for m in measures]), thirds([m.pitch_range_semitones for m in measures]))


def _word(value: float, bounds: tuple[float, float], low: str, high: str) -> str:
    return low if value < bounds[0] else high if value > bounds[1] else ""


def voice_words(measures: VoiceMeasures, norm: VoiceNorm) -> dict[str, str]:
    """The voice's part of `Cues`."""
    return {
        "pitch": _word(measures.pitch_hz, norm.pitch_hz, "low", "high"),
        "melody": _word(measures.pitch_range_semitones, norm.pitch_range_semitones, "flat", "lively"),
        "loudness": _word(measures.level_dbfs, (-36.0, -20.0), "quiet", "loud"),
        "pace": _word(measures.active_share, (0.3, 0.6), "brief", "steady"),
    }


def face_words(box: tuple[float, float, float]) -> dict[str, str]:
    """The face's part of `Cues` from centre x, centre y and height as fractions of the view."""
    return {
        "face_size": _word(box[2], (0.22, 0.5), "far", "close"),
        "face_place": _word(box[0], (0.35, 0.65), "left", "right"),
    }


FACE_LOOK = {
    "neutral": ["the face is calm", "the expression is neutral", "the face shows no strong feeling"],
    "happy": ["the face looks happy", "the face brightens", "the expression is cheerful"],
    "sad": ["the face looks sad", "the expression is downcast", "the face looks sorrowful"],
    "angry": ["the face looks angry", "the expression is hard and tense", "the face is set in anger"],
    "fear": ["the face looks afraid", "the expression is fearful", "the face shows alarm"],
    "disgust": ["the face shows disgust", "the expression is one of dislike", "the face looks repelled"],
    "surprise": ["the face looks surprised", "the expression is astonished", "the face shows surprise"],
}
VOICE_SOUND = {
    "neutral": ["the voice is even", "the tone is matter-of-fact", "the tone of voice is neutral"],
    "happy": ["the voice sounds happy", "the tone is cheerful", "the tone of voice is bright"],
    "sad": ["the voice sounds sad", "the tone is subdued", "the tone of voice is sorrowful"],
    "angry": ["the voice sounds angry", "the tone is sharp", "the tone of voice is harsh"],
    "fear": ["the voice sounds afraid", "the tone is anxious", "the tone of voice is fearful"],
    "disgust": ["the voice sounds disgusted", "the tone is full of dislike", "the tone of voice shows disgust"],
    "surprise": ["the voice sounds surprised", "the tone is astonished", "the tone of voice shows surprise"],
}
FEELING = {
    "neutral": ["seems calm and neutral", "appears neutral"],
    "happy": ["seems happy", "appears happy"],
    "sad": ["seems sad", "appears sad"],
    "angry": ["seems angry", "appears angry"],
    "fear": ["seems to feel fear", "appears to be in fear"],
    "disgust": ["seems to feel disgust", "appears to show disgust"],
    "surprise": ["seems to feel surprise", "appears to show surprise"],
}


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def describe_voice(cues: Cues, rng: np.random.Generator) -> str:
    """What is heard, in one sentence without its full stop."""
    if not cues.speech:
        return str(rng.choice(["no speech is heard", "nobody is heard speaking"]))
    sound = str(rng.choice(VOICE_SOUND[cues.voice_reading])) if cues.voice_reading else "a voice is heard"
    extra = [
        {"high": "high in pitch", "low": "low in pitch"}.get(cues.pitch, ""),
        {"loud": "loud", "quiet": "quiet"}.get(cues.loudness, ""),
        {"lively": "lively in melody", "flat": "flat in melody"}.get(cues.melody, ""),
    ]
    extra = [word for word in extra if word]
    if extra:
        sound += ", " + _join([str(word) for word in rng.permutation(extra)])
    pace = {"brief": ", with only a few words spoken", "steady": ", and the speech is steady"}.get(cues.pace, "")
    return sound + pace


def describe_face(cues: Cues, rng: np.random.Generator) -> str:
    """What is seen, in one sentence without its full stop."""
    if not cues.face:
        return str(rng.choice(["no face is in view", "nobody can be seen"]))
    look = str(rng.choice(FACE_LOOK[cues.face_reading])) if cues.face_reading else "a face is in view"
    extra = [
        {"close": "close to the camera", "far": "far from the camera"}.get(cues.face_size, ""),
        {"left": "on the left", "right": "on the right"}.get(cues.face_place, ""),
    ]
    extra = [word for word in extra if word]
    return look + (", " + _join(extra) if extra else "")


def explain(cues: Cues, label: str, rng: np.random.Generator) -> str:
    """One short paragraph that names only what was measured and the label of the state."""
    if not cues.face and not cues.speech:
        ends = ["so nothing points to a feeling, and the reading stays {label}", "so there is nothing to read a feeling from: {label}"]
        return _sentence(f"{describe_face(cues, rng)} and {describe_voice(cues, rng)}, {str(rng.choice(ends)).format(label=label)}")
    seen, heard = describe_face(cues, rng), describe_voice(cues, rng)
    feeling = f"the person {rng.choice(FEELING[label])}"
    kind = rng.integers(3)
    if kind == 0:
        return _sentence(f"{feeling}: {seen}") + " " + _sentence(heard)
    if kind == 1:
        return _sentence(seen) + " " + _sentence(heard) + " " + _sentence(feeling)
    return _sentence(heard) + " " + _sentence(f"{feeling}, because {seen}" if cues.face else feeling)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
