"""The shapes of each model the project knows: plain numbers, no torch.

`nano` is ours and ships with the project. Numbers of published models come from their papers and released code
(Emotion-LLaMA, arXiv 2406.11161; Emotion-LLaMAv2, arXiv 2601.16449).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args, get_origin, get_type_hints

LARGEST = 1e9  # of any number in a preset
LABELS = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")


@dataclass(frozen=True)
class VisionPreset:
    """The frame and scene streams.

    canvas_pixels       side of the square picture every frame is letterboxed to
    locator_pixels      side of the luminance picture the face is searched on
    locator_channels    widths of the search net's three halvings and its deep part
    glimpse_pixels      side of the crop the face is read from
    glimpse_margin      the crop's side as a multiple of the face's height
    face_channels       widths of the face net: its stem, then one a resolution
    tokens_per_frame    a square number: the face map is pooled to 2 × 2
    scene_grid          the scene map is pooled to this many tokens a side
    """

    canvas_pixels: int = 256
    locator_pixels: int = 128
    locator_channels: tuple[int, int, int, int] = (16, 32, 64, 96)
    glimpse_pixels: int = 48
    glimpse_margin: float = 1.0
    face_channels: tuple[int, int, int, int] = (32, 64, 128, 256)
    tokens_per_frame: int = 4
    scene_grid: int = 4
    width: int = 128


@dataclass(frozen=True)
class AudioPreset:
    """Log-mel front end and encoder; `frames` log-mel columns cover exactly one window."""

    sample_rate_hz: int = 16000
    mels: int = 64
    fft_samples: int = 512
    hop_samples: int = 250
    channels: tuple[int, int, int, int] = (48, 64, 96, 96)
    layers: int = 1
    heads: int = 4
    tokens: int = 64
    width: int = 128


@dataclass(frozen=True)
class FusionPreset:
    """Conv-Attention (Emotion-LLaMAv2, pre-fusion module) and what is read from it.

    kind  what stands between the streams, one of fusion.FUSIONS: "conv_attention", or what the paper compares it with
    """

    hidden: int = 512
    width: int = 128
    out: int = 256
    conv_blocks: int = 4
    dropout: float = 0.1
    head_hidden: int = 128
    kind: str = "conv_attention"


@dataclass(frozen=True)
class PrefixPreset:
    """Tokens of each stream the language model sees, in this order.

    recent_frames  frame tokens are the means over so many of the newest frames, each place of the grid apart; 0: means of neighbours
    """

    fusion: int = 8
    scene: int = 4
    frames: int = 4
    audio: int = 8
    recent_frames: int = 0

    @property
    def tokens(self) -> int:
        return self.fusion + self.scene + self.frames + self.audio


@dataclass(frozen=True)
class LlamaPreset:
    """LLaMA architecture; a published checkpoint's own config.json wins over this.

    reads_transcripts  it was trained with what people say in its prompt; to any other one a transcript is noise that can lead it astray
    """

    hidden: int = 256
    layers: int = 4
    heads: int = 8
    kv_heads: int = 8
    intermediate: int = 768
    vocab: int = 640
    context: int = 512
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    reads_transcripts: bool = False


@dataclass(frozen=True)
class Preset:
    """One model: the window it sees, its streams and its language model."""

    name: str
    window_seconds: float
    window_frames: int
    scene_frame: str
    labels: tuple[str, ...]
    vision: VisionPreset
    audio: AudioPreset
    fusion: FusionPreset
    prefix: PrefixPreset
    llama: LlamaPreset

    def __post_init__(self) -> None:
        audio = self.audio
        counts = (audio.sample_rate_hz, audio.hop_samples, audio.tokens, self.vision.tokens_per_frame, self.window_frames)
        if min(counts) < 1 or self.window_seconds <= 0:
            raise ValueError(f"preset {self.name}: window, sample rate, hop and tokens must be positive")
        columns = self.window_seconds * self.audio.sample_rate_hz / self.audio.hop_samples
        if columns != int(columns) or int(columns) % self.audio.tokens:
            raise ValueError(f"preset {self.name}: a window must give a multiple of {self.audio.tokens} log-mel columns, got {columns}")
        if self.scene_frame not in ("newest", "middle"):
            raise ValueError(f"preset {self.name}: scene_frame must be newest or middle, got {self.scene_frame!r}")

    @property
    def mel_columns(self) -> int:
        return int(self.window_seconds * self.audio.sample_rate_hz / self.audio.hop_samples)

    @property
    def frame_tokens(self) -> int:
        return self.window_frames * self.vision.tokens_per_frame

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


NANO = Preset(
    name="nano",
    window_seconds=4.0,
    window_frames=16,
    scene_frame="newest",
    labels=LABELS,
    vision=VisionPreset(),
    audio=AudioPreset(),
    fusion=FusionPreset(),
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
    fusion=FusionPreset(hidden=16, width=8, out=16, head_hidden=8),
    prefix=PrefixPreset(recent_frames=4),
    llama=LlamaPreset(hidden=64, layers=2, heads=2, kv_heads=2, intermediate=128, vocab=512, reads_transcripts=True),
)

PRESETS = {preset.name: preset for preset in (NANO, TINY)}


def find_preset(name: str) -> Preset:
    """The preset of that name. KeyError with the nearest names when there is none."""
    if name not in PRESETS:
        near = get_close_matches(name, PRESETS) or sorted(PRESETS)
        raise KeyError(f"no preset {name!r}; did you mean {' or '.join(near)}?")
    return PRESETS[name]


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


def preset_from_dict(values: dict[str, Any]) -> Preset:
    """Inverse of `Preset.to_dict`. ValueError naming unknown fields."""
    parts = {"vision": VisionPreset, "audio": AudioPreset, "fusion": FusionPreset, "prefix": PrefixPreset, "llama": LlamaPreset}
    built = {key: _build(parts[key], value) if key in parts else value for key, value in values.items()}
    preset: Preset = _build(Preset, built)
    return preset
