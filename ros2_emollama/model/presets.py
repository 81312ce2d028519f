"""The shapes of each model the project knows: plain numbers, no torch. Kinds of streams: streams.py.

`nano` is ours and ships with the project. Numbers of published models come from their papers and released code
(Emotion-LLaMA, arXiv 2406.11161; Emotion-LLaMAv2, arXiv 2601.16449).
"""

from __future__ import annotations

import dataclasses
import types
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Union, get_args, get_origin, get_type_hints

from .streams import (
    UNFUSED,
    AudioKind,
    AudioPreset,
    EvaPreset,
    FusionPreset,
    HubertPreset,
    LlamaPreset,
    PrefixPreset,
    VisionKind,
    VisionPreset,
    WhisperPreset,
    later,
)

LARGEST = 1e9  # of any number in a preset
LABELS = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")


@dataclass(frozen=True)
class Preset:
    """One model: the window it sees, its streams and its language model.

    fusion  None: the streams go to the language model side by side, and no head reads them (v1)
    prompt  how the language model is asked, one of reasoner/prompt.py's
    """

    name: str
    window_seconds: float
    window_frames: int
    scene_frame: str
    labels: tuple[str, ...]
    vision: VisionKind
    audio: AudioKind
    fusion: FusionPreset | None
    prefix: PrefixPreset
    llama: LlamaPreset
    prompt: str = later("nano")

    def __post_init__(self) -> None:
        audio = self.audio
        counts = (audio.sample_rate_hz, audio.tokens, self.vision.tokens_per_frame, self.window_frames)
        if min(counts) < 1 or self.window_seconds <= 0 or (not isinstance(audio, HubertPreset) and audio.hop_samples < 1):
            raise ValueError(f"preset {self.name}: window, sample rate, hop and tokens must be positive")
        if isinstance(audio, AudioPreset):
            columns = self.window_seconds * audio.sample_rate_hz / audio.hop_samples
            if columns != int(columns) or int(columns) % audio.tokens:
                raise ValueError(f"preset {self.name}: a window must give a multiple of {audio.tokens} log-mel columns, got {columns}")
        if isinstance(audio, WhisperPreset) and self.window_seconds * audio.sample_rate_hz > audio.columns * audio.hop_samples:
            longest = audio.columns * audio.hop_samples / audio.sample_rate_hz
            raise ValueError(f"preset {self.name}: a window may last {longest:g} s at most, got {self.window_seconds:g}")
        if self.scene_frame not in ("newest", "middle"):
            raise ValueError(f"preset {self.name}: scene_frame must be newest or middle, got {self.scene_frame!r}")
        if self.fusion and not self.vision.frame_pixels and self.fusion.method != UNFUSED:
            raise ValueError(f"preset {self.name}: fusion needs a frame stream; give vision.frame_pixels, or no fusion")
        if self.fusion and self.fusion.affect and (not self.fusion.head_hidden or self.prefix.absent == "zeros"):
            raise ValueError(f"preset {self.name}: fusion.affect needs a label head beside it, in a preset of the published kind")
        if self.fusion and self.fusion.head_reads_streams and (not self.fusion.head_hidden or self.prefix.absent != "zeros"):
            raise ValueError(f"preset {self.name}: fusion.head_reads_streams needs a label head, in a preset of nano's kind")

    @property
    def mel_columns(self) -> int:
        """Log-mel columns the audio encoder takes. AttributeError for one that takes samples."""
        assert not isinstance(self.audio, HubertPreset)
        if isinstance(self.audio, WhisperPreset):
            return self.audio.columns
        return int(self.window_seconds * self.audio.sample_rate_hz / self.audio.hop_samples)

    @property
    def window_samples(self) -> int:
        return round(self.window_seconds * self.audio.sample_rate_hz)

    @property
    def frame_tokens(self) -> int:
        return self.window_frames * self.vision.tokens_per_frame

    @property
    def has_head(self) -> bool:
        """Labels come from a head on the fused tokens; without one the language model scores them."""
        return self.fusion is not None and self.fusion.head_hidden > 0

    @property
    def fused_tokens(self) -> int:
        """Tokens that heads read."""
        unfused = self.fusion is not None and self.fusion.method == UNFUSED
        return self.audio.tokens + (1 + self.prefix.utterances if unfused else 0)

    @property
    def has_affect(self) -> bool:
        """Valence and arousal come beside the labels."""
        return self.fusion is not None and self.fusion.affect

    def to_dict(self) -> dict[str, Any]:
        """What a manifest holds; `preset_from_dict` reads it."""
        told = _told(self)
        for part in ("vision", "audio"):
            kind = getattr(self, part).kind
            told[part] = told[part] if kind == "nano" else {"kind": kind, **told[part]}
        return told


NANO = Preset(
    name="nano",
    window_seconds=4.0,
    window_frames=16,
    scene_frame="newest",
    labels=LABELS,
    vision=VisionPreset(),
    audio=AudioPreset(),
    fusion=FusionPreset(head_reads_streams=True),
    prefix=PrefixPreset(recent_frames=4),
    llama=LlamaPreset(reads_transcripts=True),
)

# As nano, small enough for a test to build with random weights in milliseconds.
TINY = Preset(
    name="tiny",
    window_seconds=4.0,
    window_frames=16,
    scene_frame="newest",
    labels=LABELS,
    vision=VisionPreset(locator_channels=(4, 8, 8, 8), face_channels=(8, 8, 16, 32), width=32),
    audio=AudioPreset(channels=(4, 8, 8, 8), layers=1, heads=2, width=32),
    fusion=FusionPreset(hidden=16, width=8, out=16, head_hidden=8, head_reads_streams=True),
    prefix=PrefixPreset(recent_frames=4),
    llama=LlamaPreset(hidden=64, layers=2, heads=2, kv_heads=2, intermediate=128, vocab=512, reads_transcripts=True),
)

LLAMA_2_7B = LlamaPreset(
    hidden=4096, layers=32, heads=32, kv_heads=32, intermediate=11008, vocab=32000, context=1024, reads_transcripts=True
)

# The labels are those of the authors' demo; a checkpoint answers with any of its training sets' words, as its prompt lists them.
EMOTION_LLAMA_V2 = Preset(
    name="emotion_llama_v2",
    window_seconds=4.0,
    window_frames=16,
    scene_frame="middle",
    labels=("anger", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
    vision=EvaPreset(),
    audio=WhisperPreset(),
    fusion=FusionPreset(head_hidden=0),
    prefix=PrefixPreset(fusion=64, scene=256, frames=64, audio=64, absent="left_out"),
    llama=LLAMA_2_7B,
    prompt="emotion_llama_v2",
)

EMOTION_LLAMA = Preset(
    name="emotion_llama",
    window_seconds=4.0,
    window_frames=16,
    scene_frame="middle",
    labels=("happy", "sad", "neutral", "angry", "worried", "surprise", "fear", "contempt", "doubt"),
    vision=EvaPreset(frame_pixels=0, frame_blocks=0),
    audio=HubertPreset(),
    fusion=None,
    prefix=PrefixPreset(fusion=0, scene=256, frames=0, utterances=2, audio=1, cls=1, absent="left_out"),
    llama=LLAMA_2_7B,
    prompt="emotion_llama",
)

PRESETS = {preset.name: preset for preset in (NANO, TINY, EMOTION_LLAMA_V2, EMOTION_LLAMA)}


def find_preset(name: str) -> Preset:
    """The preset of that name. KeyError with the nearest names when there is none."""
    if name not in PRESETS:
        near = get_close_matches(name, PRESETS) or sorted(PRESETS)
        raise KeyError(f"no preset {name!r}; did you mean {' or '.join(near)}?")
    return PRESETS[name]


def _told(part: Any) -> dict[str, Any]:
    """Fields by name, without those that are younger than the first manifests and hold their default."""
    told = {}
    for item in dataclasses.fields(part):
        value = getattr(part, item.name)
        if not (item.metadata.get("later") and value == item.default):
            told[item.name] = _told(value) if dataclasses.is_dataclass(value) else value
    return told


def _build(kind: type[Any], values: dict[str, Any]) -> Any:
    names = {item.name for item in dataclasses.fields(kind)}
    unknown = set(values) - names
    if unknown:
        raise ValueError(
            f"{kind.__name__} has no field {', '.join(sorted(unknown))}; the model folder was written by another version of emollama"
        )
    hints = get_type_hints(kind)
    return kind(**{name: _checked(f"{kind.__name__}.{name}", hints[name], value) for name, value in values.items()})


def _checked(name: str, hint: Any, value: Any) -> Any:
    """A value of the type its field has: numbers positive and finite, lists as tuples. ValueError naming the field."""
    if get_origin(hint) in (Union, types.UnionType):
        if not isinstance(value, get_args(hint)):
            raise ValueError(f"{name} must be one of {', '.join(kind.__name__ for kind in get_args(hint))}, got {value!r:.60}")
        return value
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        if not isinstance(value, (list, tuple)) or not value or (Ellipsis not in kinds and len(kinds) != len(value)):
            raise ValueError(f"{name} must be a list of {'texts' if kinds[0] is str else f'{len(kinds)} numbers'}, got {value!r:.60}")
        return tuple(_checked(name, kinds[0], entry) for entry in value)
    wanted = (int, float) if hint is float else hint
    if not isinstance(value, wanted) or isinstance(value, bool) != (hint is bool):
        raise ValueError(f"{name} must be of type {hint.__name__}, got {value!r:.60}")
    if isinstance(value, (int, float)) and not 0 <= value < LARGEST:
        raise ValueError(f"{name} must be a number in [0, {LARGEST:g}), got {value!r:.60}")
    return value


KINDS: dict[str, dict[str, type[Any]]] = {
    "vision": {kind.kind: kind for kind in (VisionPreset, EvaPreset)},
    "audio": {kind.kind: kind for kind in (AudioPreset, WhisperPreset, HubertPreset)},
    "fusion": {"": FusionPreset},
    "prefix": {"": PrefixPreset},
    "llama": {"": LlamaPreset},
}


def _part(name: str, values: Any) -> Any:
    """One part of a preset from what a manifest holds: its kind's class, nano's where no kind is named."""
    kinds, told = KINDS[name], dict(values)
    kind = told.pop("kind", "nano" if "nano" in kinds else "")
    if kind not in kinds:
        raise ValueError(f"{name} is of unknown kind {kind!r:.40}; known: {', '.join(kinds)}")
    return _build(kinds[kind], told)


def preset_from_dict(values: dict[str, Any]) -> Preset:
    """Inverse of `Preset.to_dict`. ValueError naming unknown fields."""
    built = {key: _part(key, value) if key in KINDS and value is not None else value for key, value in values.items()}
    preset: Preset = _build(Preset, built)
    return preset
