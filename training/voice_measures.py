"""What can be measured of a clean voice: Praat, through parselmouth, and plain energy.

In:  one clip, mono at 16 kHz, with nobody else and little noise in it.
Out: one number a name of VOICE_MEASURES, NaN where it cannot be measured.
Syllables are counted as de Jong & Wempe do (Behavior Research Methods 41, 2009): peaks of the loudness that are voiced.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import find_peaks

SAMPLE_RATE_HZ = 16000
VOICE_MEASURES = (
    "pitch_hz",  # median over voiced frames
    "pitch_range_semitones",  # between the 10th and the 90th percentile
    "level_dbfs",  # of the speaking part
    "rate_per_second",  # syllable nuclei a second of speech, pauses left out
    "pause_share",  # silence between the first and the last sound
    "jitter",  # local, a share of the period
    "shimmer",  # local, a share of the amplitude
    "hnr_db",  # harmonics to noise, mean over voiced frames
    "roughness",  # jitter, shimmer and noise together, in nepers above the limits below
)
BLOCK_SAMPLES = 1000  # a sixteenth of a second, as one audio token
SPEAKING_DB = 30.0  # a block within so much of the loudest one is speech
NUCLEUS_DB = 25.0  # a syllable's peak lies within so much of the loudest 1 %
DIP_DB = 2.0  # between two syllables the loudness falls by at least so much
PAUSE_DB = 20.0  # a pause lies below the loudest 1 % by more than this,
PAUSE_SECONDS = 0.08  # for at least so long; shorter ones belong to consonants
STEP_SECONDS = 0.01
SHORTEST_SECONDS = 0.25
LEAST_VOICED = 10  # frames of STEP_SECONDS
ROUGH = (0.0104, 0.0381, 20.0)  # jitter, shimmer and dB from which voices are usually called rough (Praat's manual, after MDVP)

Samples = npt.NDArray[np.float32]


def measure_voice(samples: Samples) -> npt.NDArray[np.float32]:
    """(S,) float32 in [-1, 1] → (M,) float32 in the order of VOICE_MEASURES."""
    found = dict.fromkeys(VOICE_MEASURES, float("nan"))
    if samples.size >= SHORTEST_SECONDS * SAMPLE_RATE_HZ and np.isfinite(samples).all() and np.abs(samples).max() > 1e-4:
        found["level_dbfs"] = speaking_level(samples, speaking(samples))
        found |= _praat(samples)
    return np.array([found[name] for name in VOICE_MEASURES], np.float32)


def speaking(samples: Samples) -> npt.NDArray[np.bool_]:
    """(S // BLOCK_SAMPLES,): the blocks within SPEAKING_DB of the loudest."""
    power = np.square(samples[: samples.size // BLOCK_SAMPLES * BLOCK_SAMPLES]).reshape(-1, BLOCK_SAMPLES).mean(axis=1)
    return np.asarray(power > max(float(power.max(initial=0.0)) * 10 ** (-SPEAKING_DB / 10), 1e-9), np.bool_)


def speaking_level(samples: Samples, active: npt.NDArray[np.generic]) -> float:
    """dBFS of the parts marked in `active` (any number of equal parts); NaN where none is."""
    length = samples.size // active.size if active.size else 0
    spoken = np.square(samples[: length * active.size]).reshape(active.size, -1)[active > 0] if length else np.zeros(0)
    return 10 * float(np.log10(float(spoken.mean()) + 1e-10)) if spoken.size else float("nan")


def _praat(samples: Samples) -> dict[str, float]:
    import parselmouth

    sound = parselmouth.Sound(samples.astype(np.float64), SAMPLE_RATE_HZ)
    pitch, floor, ceiling = _pitch(sound)
    hertz = pitch.selected_array["frequency"]
    found = _speech(sound, pitch)
    voiced = hertz[hertz > 0]
    if voiced.size < LEAST_VOICED:
        return found
    low, high = np.percentile(voiced, (10, 90))
    found |= {"pitch_hz": float(np.median(voiced)), "pitch_range_semitones": float(12 * np.log2(high / low))}
    return found | _quality(sound, pitch, floor, ceiling)


def _pitch(sound: object) -> tuple[object, float, float]:
    """Pitch track and the bounds it was searched in. A first pass finds the speaker's register, so that octaves are mistaken less."""
    floor, ceiling = 70.0, 600.0
    track = sound.to_pitch(time_step=STEP_SECONDS, pitch_floor=floor, pitch_ceiling=ceiling)  # type: ignore[attr-defined]
    voiced = track.selected_array["frequency"]
    voiced = voiced[voiced > 0]
    if voiced.size >= LEAST_VOICED:
        lower, upper = np.percentile(voiced, (25, 75))
        floor, ceiling = max(60.0, 0.7 * float(lower)), min(700.0, 2.2 * float(upper))
        track = sound.to_pitch(time_step=STEP_SECONDS, pitch_floor=floor, pitch_ceiling=ceiling)  # type: ignore[attr-defined]
    return track, floor, ceiling


def _speech(sound: object, pitch: object) -> dict[str, float]:
    """Syllables a second of speech, and the share of pauses between the first and the last sound."""
    intensity = sound.to_intensity(minimum_pitch=50.0, time_step=STEP_SECONDS)  # type: ignore[attr-defined]
    decibels, times = intensity.values[0], intensity.xs()
    limit = float(np.percentile(decibels, 99)) - NUCLEUS_DB
    loud = np.flatnonzero(decibels > limit)
    if loud.size < SHORTEST_SECONDS / STEP_SECONDS:
        return {}
    whole, paused = _pauses(sound)
    peaks, _ = find_peaks(decibels, height=limit, prominence=DIP_DB)
    voiced = [pitch.get_value_at_time(float(times[peak])) > 0 for peak in peaks]  # type: ignore[attr-defined]
    return {"rate_per_second": sum(voiced) / ((whole - paused) * STEP_SECONDS), "pause_share": paused / whole}


def _pauses(sound: object) -> tuple[float, float]:
    """Steps between the first and the last sound, and how many of them are pauses. Closer in time than where syllables are counted."""
    decibels = sound.to_intensity(minimum_pitch=100.0, time_step=STEP_SECONDS).values[0]  # type: ignore[attr-defined]
    loud = np.flatnonzero(decibels > np.percentile(decibels, 99) - PAUSE_DB)
    gaps = np.diff(loud) - 1
    return float(loud[-1] - loud[0] + 1), float(gaps[gaps * STEP_SECONDS >= PAUSE_SECONDS].sum())


def _quality(sound: object, pitch: object, floor: float, ceiling: float) -> dict[str, float]:
    from parselmouth.praat import call

    pulses = call([sound, pitch], "To PointProcess (cc)")
    jitter = float(call(pulses, "Get jitter (local)", 0, 0, 1 / ceiling / 2, 2 / floor, 1.3))
    shimmer = float(call([sound, pulses], "Get shimmer (local)", 0, 0, 1 / ceiling / 2, 2 / floor, 1.3, 1.6))
    harmonic = sound.to_harmonicity_cc(time_step=2 * STEP_SECONDS, minimum_pitch=floor).values  # type: ignore[attr-defined]
    harmonic = harmonic[harmonic > -199]
    noise = float(harmonic.mean()) if harmonic.size else float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.log(jitter / ROUGH[0]), np.log(shimmer / ROUGH[1]), (ROUGH[2] - noise) * np.log(10) / 20]
    roughness = float(np.mean(parts))
    return {"jitter": jitter, "shimmer": shimmer, "hnr_db": noise, "roughness": roughness if np.isfinite(roughness) else float("nan")}
