"""What `emollama info` tells: the model, what it takes, what the node would be set to, its topics."""

from __future__ import annotations

from ..config import Config
from ..model.folder import ModelFolder
from ..options import ConfigField, Value, fields, flatten
from .machine import resident_mb

TOPICS = (
    ("in", "image_raw", "sensor_msgs/Image; with image.transport compressed: image_raw/compressed"),
    ("in", "audio", "emollama/AudioChunk, audio_common_msgs of either kind, foxglove_msgs/RawAudio"),
    ("in", "transcript", "std_msgs/String, hri_msgs/LiveSpeech"),
    ("out", "emotion/state", "emollama/EmotionState, every hop"),
    ("out", "emotion/reasoning", "emollama/EmotionReasoning"),
    ("out", "emotion/image_annotated", "sensor_msgs/Image, while somebody subscribes"),
    ("out", "/diagnostics", "diagnostic_msgs/DiagnosticArray"),
    ("action", "emotion/explain", "emollama/Explain: a question about what is seen and heard"),
    ("service", "~/enabled", "std_srvs/SetBool: look and listen at all"),
)
"""Of the perception node: direction, name, type. tests/ros/test_security.py holds them against a running node."""


def model_rows(folder: ModelFolder) -> list[tuple[str, str]]:
    preset = folder.preset
    return [
        ("model", folder.model_id),
        ("folder", str(folder.root)),
        ("size", f"{megabytes(folder):.1f} MB"),
        ("labels", " ".join(preset.labels)),
        ("window", f"{preset.window_seconds:g} s, {preset.window_frames} frames, sound at {preset.audio.sample_rate_hz} Hz"),
        ("graphs", " ".join(sorted(folder.manifest.graphs)) or "none"),
        ("language", " ".join(sorted(folder.manifest.language)) or "none: labels only"),
        *((key, str(value)) for key, value in folder.manifest.info.items()),
    ]


def megabytes(folder: ModelFolder) -> float:
    return sum(int(facts["bytes"]) for facts in folder.manifest.files.values()) / 1e6


def memory_row(config: Config) -> tuple[str, str]:
    """Measured: the model is loaded and run once."""
    from ..pipeline import Pipeline

    before = resident_mb()
    pipeline = Pipeline.load(config)
    pipeline.warm_up()
    return "memory", f"{resident_mb() - before:.0f} MB when loaded ({pipeline.describe().split(', ', 1)[1]})"


def parameter_rows(config: Config) -> list[tuple[str, str]]:
    """Every parameter with its value; a star where it is not the default."""
    values = flatten(config)
    return [(entry.name, _told(entry, values[entry.name])) for entry in fields(Config)]


def _told(entry: ConfigField, value: Value) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{text}{f' {entry.unit}' if entry.unit else ''}{'' if value == entry.default else f'  * default {entry.default}'}"
