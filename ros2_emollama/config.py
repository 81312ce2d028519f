"""The parameters of our nodes, a tree of frozen dataclasses each: the only place where a default, help text, unit, range and mark stand.

How a tree becomes ROS parameters, YAML and `--help`: options.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .options import Section, Tree, option


@dataclass(frozen=True)
class ModelConfig(Section):
    """What runs, and on what."""

    section: ClassVar[str] = "model"
    path: str = option("nano", "a shipped model's name, or a model folder")
    runtime: str = option(
        "auto",
        "what runs the graphs; auto: TensorRT, else ONNX Runtime on the GPU, else on the CPU",
        choices=("auto", "tensorrt", "onnxruntime_tensorrt", "onnxruntime_cuda", "onnxruntime", "torch"),
    )
    engines: str = option("", "folder of TensorRT engines, built there where they are missing; empty: in ~/.cache/emollama", empty=True)
    threads: int = option(1, "CPU threads for one graph; leave a core to the rest of the robot", minimum=1, maximum=64)


@dataclass(frozen=True)
class WindowConfig(Section):
    """How the streams are cut; length and frame count belong to the model."""

    section: ClassVar[str] = "window"
    hop_ticks: int = option(1, "grid ticks from one window to the next", unit="ticks", minimum=1, maximum=16)
    patience_seconds: float = option(0.3, "a stream that lags more than this is not waited for", unit="s", minimum=0.0, maximum=4.0)
    stall_seconds: float = option(0.5, "a stream with nothing new for this long is reported missing", unit="s", minimum=0.05, maximum=60.0)


@dataclass(frozen=True)
class ImageConfig(Section):
    """The camera's topic."""

    section: ClassVar[str] = "image"
    transport: str = option("raw", "raw: image_raw; compressed: image_raw/compressed", choices=("raw", "compressed"))
    reliability: str = option("best_effort", "QoS; best_effort also matches a reliable camera", choices=("best_effort", "reliable"))
    depth: int = option(5, "QoS queue depth", unit="messages", minimum=1, maximum=1000)


@dataclass(frozen=True)
class AudioConfig(Section):
    """The microphone's topic."""

    section: ClassVar[str] = "audio"
    reliability: str = option("best_effort", "QoS; best_effort also matches a reliable microphone", choices=("best_effort", "reliable"))
    depth: int = option(50, "QoS queue depth; 50 chunks of 20 ms are one second", unit="messages", minimum=1, maximum=1000)
    assume_format: str = option(
        "auto",
        "what audio_common_msgs/AudioData holds until its audio_info says so; auto: S16LE, or mp3 where it looks like it",
        choices=("auto", "mp3", "S8", "U8", "S16LE", "S16BE", "S24LE", "S32LE", "F32LE"),
    )
    assume_rate_hz: int = option(16000, "sample rate until audio_info says so", unit="Hz", minimum=4000, maximum=384000)
    assume_channels: int = option(1, "channels until audio_info says so", minimum=1, maximum=64)


@dataclass(frozen=True)
class LabelsConfig(Section):
    """When a new label is believed (states always carry the raw probabilities beside it)."""

    section: ClassVar[str] = "labels"
    presence: float = option(
        0.5, 'the label is "unknown" while face and speech presence are both below this', minimum=0.0, maximum=1.0, live=True
    )
    margin: float = option(0.1, "lead in probability a new label needs over the one that holds", minimum=0.0, maximum=1.0, live=True)
    dwell_seconds: float = option(0.5, "how long it must lead", unit="s", minimum=0.0, maximum=60.0, live=True)


@dataclass(frozen=True)
class ReasonerConfig(Section):
    """Explanations."""

    section: ClassVar[str] = "reasoner"
    enabled: bool = option(True, "load the language model; false gives labels only")
    mode: str = option(
        "local",
        "local: the language model runs in this node; remote: the node `reasoner` is asked, on another machine",
        choices=("local", "remote"),
    )
    link_seconds: float = option(
        2.0, "mode remote: a reasoner that is silent for this long is taken as lost; labels go on", unit="s", minimum=0.2, maximum=60.0
    )
    on_change: bool = option(True, "explain when the label changes", live=True)
    period_seconds: float = option(10.0, "explain at least this often; 0.0 = never", unit="s", minimum=0.0, maximum=3600.0, live=True)
    max_tokens: int = option(80, "longest explanation", unit="tokens", minimum=1, maximum=1024, live=True)
    deadline_seconds: float = option(5.0, "an explanation is cut off after this time", unit="s", minimum=0.1, maximum=600.0, live=True)
    temperature: float = option(0.0, "0.0 = always the likeliest token", minimum=0.0, maximum=2.0, live=True)
    partial_hz: float = option(5.0, "partial texts while one is made; 0.0 = none", unit="1/s", minimum=0.0, maximum=30.0, live=True)


@dataclass(frozen=True)
class PerceptionConfig(Section):
    """Consent."""

    section: ClassVar[str] = "perception"
    enabled: bool = option(
        True, "look and listen at all; false closes the inputs and drops what is held, as the service ~/enabled does", live=True
    )


@dataclass(frozen=True)
class HriConfig(Section):
    """ROS4HRI (REP-155), where hri_msgs is installed."""

    section: ClassVar[str] = "hri"
    enabled: bool = option(True, "publish /humans/faces/<id>/expression where hri_msgs is installed")
    face_id: str = option("emollama", "the face's id while nobody publishes /humans/faces/tracked")


@dataclass(frozen=True)
class DiagnosticsConfig(Section):
    """/diagnostics."""

    section: ClassVar[str] = "diagnostics"
    period_seconds: float = option(1.0, "time between two reports", unit="s", minimum=0.1, maximum=60.0)


@dataclass(frozen=True)
class Config(Tree):
    """Everything of the node `perception`; `Config()` holds the defaults."""

    node: ClassVar[str] = "perception"
    model: ModelConfig = ModelConfig()
    window: WindowConfig = WindowConfig()
    image: ImageConfig = ImageConfig()
    audio: AudioConfig = AudioConfig()
    labels: LabelsConfig = LabelsConfig()
    reasoner: ReasonerConfig = ReasonerConfig()
    perception: PerceptionConfig = PerceptionConfig()
    hri: HriConfig = HriConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()
    autostart: bool = option(True, "configure and activate at start, without a lifecycle manager")


@dataclass(frozen=True)
class ReasonerNodeConfig(Tree):
    """Everything of the node `reasoner`."""

    node: ClassVar[str] = "reasoner"
    model: ModelConfig = ModelConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()


@dataclass(frozen=True)
class SourceConfig(Tree):
    """What every node that opens a device has."""

    device: str = option("", "the device", empty=True, number=True)
    frame_id: str = option("source", "frame_id of the messages")
    reopen_seconds: float = option(2.0, "time between two attempts to open a device that failed", unit="s", minimum=0.1, maximum=60.0)


@dataclass(frozen=True)
class MicrophoneConfig(SourceConfig):
    """Everything of the node `microphone`."""

    node: ClassVar[str] = "microphone"
    device: str = option("", "input device: its index or a part of its name; empty: the system's default", empty=True, number=True)
    frame_id: str = option("microphone", "frame_id of the messages")
    sample_rate_hz: int = option(16000, "samples a second", unit="Hz", minimum=4000, maximum=384000)
    channels: int = option(1, "channels, interleaved", minimum=1, maximum=64)
    chunk_ms: int = option(20, "length of one message's sound", unit="ms", minimum=5, maximum=500)


@dataclass(frozen=True)
class CameraConfig(SourceConfig):
    """Everything of the node `camera`."""

    node: ClassVar[str] = "camera"
    device: str = option("0", "index or path of a camera, a video file, or a URL (rtsp://...)", number=True)
    frame_id: str = option("camera", "frame_id of the messages")
    width: int = option(0, "width asked for; 0 = the device's own choice", unit="pixels", minimum=0, maximum=16384)
    height: int = option(0, "height asked for; 0 = the device's own choice", unit="pixels", minimum=0, maximum=16384)
    frames_per_second: float = option(0.0, "rate asked for; 0.0 = the device's own choice", unit="1/s", minimum=0.0, maximum=1000.0)
    pixel_format: str = option("", "four-character code asked for, MJPG for instance; empty: the device's own choice", empty=True)
    loop: bool = option(False, "a file begins again at its end")
