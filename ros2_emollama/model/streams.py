"""The numbers of each kind of stream, fusion, prefix and language model: plain, frozen, no torch.

A preset (presets.py) puts one of each together. What the pipeline and the graphs ask of a stream is the same for every kind of it:

    vision   frame_pixels, scene_pixels   sides of the square pictures its graphs take; frame_pixels 0: it has no frame stream
             letterbox                    proportions are kept, or the picture is squeezed, as the checkpoint was trained
             tokens_per_frame, width      of the frame stream
             scene_tokens, scene_width    of the scene's tokens; its CLS is `width` wide
             locates                      it says whether there is a face, and where
    audio    sample_rate_hz, tokens, width
             hears_speech                 it says whether somebody speaks
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar


def later(default: Any) -> Any:
    """A field that is younger than the first manifests: left out of one while it holds its default, so earlier versions read it too."""
    return field(default=default, metadata={"later": True})


@dataclass(frozen=True)
class VisionPreset:
    """nano's frame and scene streams.

    canvas_pixels       side of the square picture every frame is letterboxed to
    locator_pixels      side of the luminance picture the face is searched on
    locator_channels    widths of the search net's three halvings and its deep part
    glimpse_pixels      side of the crop the face is read from
    glimpse_margin      the crop's side as a multiple of the face's height
    face_channels       widths of the face net: its stem, then one a resolution
    tokens_per_frame    a square number: the face map is pooled to 2 × 2
    scene_grid          the scene map is pooled to this many tokens a side
    """

    kind: ClassVar[str] = "nano"
    letterbox: ClassVar[bool] = True
    locates: ClassVar[bool] = True
    canvas_pixels: int = 256
    locator_pixels: int = 128
    locator_channels: tuple[int, int, int, int] = (16, 32, 64, 96)
    glimpse_pixels: int = 48
    glimpse_margin: float = 1.0
    face_channels: tuple[int, int, int, int] = (32, 64, 128, 256)
    tokens_per_frame: int = 4
    scene_grid: int = 4
    width: int = 128

    @property
    def frame_pixels(self) -> int:
        return self.canvas_pixels

    @property
    def scene_pixels(self) -> int:
        return self.canvas_pixels

    @property
    def scene_tokens(self) -> int:
        return self.scene_grid**2

    @property
    def scene_width(self) -> int:
        return self.width


@dataclass(frozen=True)
class EvaPreset:
    """EVA ViT-g/14 for the scene and, through the same blocks, for the frames. Numbers of eva_vit_g.pth as BLIP-2 and Emotion-LLaMA use it.

    trained_grid    patches a side the position embedding was trained for; other sides are interpolated
    scene_blocks    the scene leaves after these (BLIP-2 takes the last layer but one)
    frame_blocks    the frames leave after these: 40 where the checkpoint has a fortieth block; 0: no frame stream
    scene_group     patches in a row that are one token of the scene, side by side
    """

    kind: ClassVar[str] = "eva"
    letterbox: ClassVar[bool] = False
    locates: ClassVar[bool] = False
    patch_pixels: int = 14
    trained_grid: int = 16
    scene_pixels: int = 448
    frame_pixels: int = 224
    scene_blocks: int = 39
    frame_blocks: int = 40
    scene_group: int = 4
    tokens_per_frame: int = 4
    heads: int = 16
    intermediate: int = 6144
    width: int = 1408

    def __post_init__(self) -> None:
        if self.frame_blocks and self.frame_blocks < self.scene_blocks:
            raise ValueError(f"EvaPreset.frame_blocks must be 0 or at least scene_blocks {self.scene_blocks}, got {self.frame_blocks}")
        if bool(self.frame_blocks) != bool(self.frame_pixels):
            raise ValueError("EvaPreset.frame_blocks and frame_pixels must both be given or both be 0")
        patch = max(1, self.patch_pixels)
        if self.scene_pixels % patch or self.frame_pixels % patch or self.scene_patches % max(1, self.scene_group):
            raise ValueError(f"EvaPreset: pictures must be whole patches of {patch} and the scene's whole groups of {self.scene_group}")

    @property
    def scene_patches(self) -> int:
        return int((self.scene_pixels // self.patch_pixels) ** 2)

    @property
    def frame_patches(self) -> int:
        return int((self.frame_pixels // self.patch_pixels) ** 2)

    @property
    def scene_tokens(self) -> int:
        return self.scene_patches // self.scene_group

    @property
    def scene_width(self) -> int:
        return self.width * self.scene_group


@dataclass(frozen=True)
class AudioPreset:
    """nano's log-mel front end and encoder; `frames` log-mel columns cover exactly one window."""

    kind: ClassVar[str] = "nano"
    hears_speech: ClassVar[bool] = True
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
class WhisperPreset:
    """The encoder of Whisper (large-v3), pooled to as many tokens as the frames have. A window is padded with silence to `columns`."""

    kind: ClassVar[str] = "whisper"
    hears_speech: ClassVar[bool] = False
    sample_rate_hz: int = 16000
    mels: int = 128
    fft_samples: int = 400
    hop_samples: int = 160
    columns: int = 3000
    layers: int = 32
    heads: int = 20
    intermediate: int = 5120
    tokens: int = 64
    width: int = 1280


@dataclass(frozen=True)
class HubertPreset:
    """HuBERT of the large kind (layer norms throughout, chinese-hubert-large), its last hidden state averaged over the window: one token.

    normalise    the window's samples are brought to mean 0 and variance 1 first
    """

    kind: ClassVar[str] = "hubert"
    hears_speech: ClassVar[bool] = False
    tokens: ClassVar[int] = 1
    sample_rate_hz: int = 16000
    conv_channels: int = 512
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    position_kernel: int = 128
    position_groups: int = 16
    layers: int = 24
    heads: int = 16
    intermediate: int = 4096
    normalise: bool = True
    width: int = 1024


VisionKind = VisionPreset | EvaPreset
AudioKind = AudioPreset | WhisperPreset | HubertPreset


UNFUSED = "streams"


@dataclass(frozen=True)
class FusionPreset:
    """Conv-Attention (Emotion-LLaMAv2, pre-fusion module) and what is read from it.

    head_hidden  0: it has no label head
    head_reads_streams
                 the label head reads the newest faces and the voice beside the fused tokens (nano's kind alone)
    affect       valence and arousal are read beside the labels (the published kind alone)
    method       what stands between the streams, one of fusion.FUSIONS: "conv_attention", or what the paper compares it with; UNFUSED:
                 nothing does, heads read the streams (v1)
    """

    hidden: int = 512
    width: int = 128
    out: int = 256
    conv_blocks: int = 4
    dropout: float = 0.1
    head_hidden: int = 128
    method: str = later("conv_attention")
    head_reads_streams: bool = later(False)
    affect: bool = later(False)


@dataclass(frozen=True)
class PrefixPreset:
    """Tokens of each part the language model sees, in the order of `parts`.

    utterances     vectors of the whole clip that are given from outside (FaceMAE and VideoMAE of v1)
    cls            the scene's CLS as a token of its own
    absent         tokens of a stream that a window does not have are: "zeros" before projection (nano was trained so), "left_out", or
                   "kept" as if the stream were there (what the published code does)
    recent_frames  frame tokens are the means over so many of the newest frames, each place of the grid apart; 0: means of neighbours
    """

    fusion: int = 8
    scene: int = 4
    frames: int = 4
    audio: int = 8
    utterances: int = later(0)
    cls: int = later(0)
    absent: str = later("zeros")
    recent_frames: int = later(0)

    def __post_init__(self) -> None:
        if self.absent not in ("zeros", "left_out", "kept"):
            raise ValueError(f"PrefixPreset.absent must be zeros, left_out or kept, got {self.absent!r}")

    @property
    def parts(self) -> dict[str, int]:
        """Part → its number of tokens, in the order they stand in."""
        counts = {
            "fusion": self.fusion,
            "scene": self.scene,
            "frames": self.frames,
            "utterances": self.utterances,
            "audio": self.audio,
            "cls": self.cls,
        }
        return {name: count for name, count in counts.items() if count}

    @property
    def tokens(self) -> int:
        return sum(self.parts.values())


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
    bos_token: str = later("<s>")
    eos_token: str = later("</s>")
