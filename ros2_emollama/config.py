"""One tree of frozen dataclasses: the only place where a parameter's default, help text, unit, range and mark stand.

ROS parameters, YAML files and `--help` are all made from it, under dotted names ("reasoner.max_tokens").
A value that breaks its rule dies at birth with a `ConfigError` naming the parameter, the rule and the value.
Knows nothing about ROS; imports PyYAML only where a file is read.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

Value = bool | int | float | str

NESTING_READ, PARAMETERS_READ = 8, 1000  # aliases in a file of ten lines can stand for more than a machine holds

ROS_OWN_PARAMETERS = ("use_sim_time", "start_type_description_service", "qos_overrides")
"""Parameters every ROS node has; a params file may hold them beside ours."""


class ConfigError(ValueError):
    """A parameter that does not exist or a value that breaks its rule; the message names both and the cure."""


@dataclass(frozen=True)
class ConfigField:
    """One parameter, as ROS descriptors, YAML comments and `--help` need it.

    live  it may change while the node runs; otherwise it is read-only after start
    """

    name: str
    type: type
    default: Value
    help: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False

    @property
    def rule(self) -> str:
        """What a value must be, in words; empty where any value of the type is good."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.minimum is not None and self.maximum is not None:
            return f"in [{self.minimum:g}, {self.maximum:g}]"
        return ""

    @property
    def description(self) -> str:
        """Help, unit and rule in one line."""
        notes = ", ".join(note for note in (self.unit, self.rule) if note)
        return f"{self.help} ({notes})" if notes else self.help

    def check(self, value: object) -> None:
        """ConfigError unless `value` is of exactly this type (bool is not int) and follows the rule."""
        if type(value) is not self.type:
            cure = f"; write {float(value)}" if self.type is float and type(value) is int else ""
            raise ConfigError(f"{self.name} must be of type {self.type.__name__}, got {value!r}{cure}")
        if self.choices and value not in self.choices:
            raise ConfigError(f"{self.name} must be {self.rule}, got {value!r}{suggestion(str(value), self.choices)}")
        bounded = isinstance(value, (int, float)) and self.minimum is not None and self.maximum is not None
        if bounded and not self.minimum <= value <= self.maximum:  # type: ignore[operator]  # also refuses NaN
            raise ConfigError(f"{self.name} must be {self.rule}, got {value!r}")
        if isinstance(value, str) and not value:
            raise ConfigError(f"{self.name} must not be empty")


def option(default: Value, help: str, **facts: Any) -> Any:
    """A dataclass field with what `ConfigField` holds beside name and type."""
    return dataclasses.field(default=default, metadata={"help": help, **facts})


class _Checked:
    """Checks every parameter of a section when it is made."""

    section: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for entry in self.own_fields():
            entry.check(getattr(self, entry.name.rpartition(".")[2]))

    @classmethod
    def own_fields(cls) -> Iterator[ConfigField]:
        """The parameters of this section, without those of sections inside it."""
        for entry in dataclasses.fields(cls):  # type: ignore[arg-type]
            if entry.metadata:
                default: Any = entry.default
                yield ConfigField(f"{cls.section}.{entry.name}".lstrip("."), type(default), default, **entry.metadata)


@dataclass(frozen=True)
class ModelConfig(_Checked):
    """What runs, and on what."""

    section: ClassVar[str] = "model"
    path: str = option("nano", "a shipped model's name, or a model folder")
    runtime: str = option("auto", "what runs the graphs; auto: the fastest installed", choices=("auto", "onnxruntime", "torch"))
    threads: int = option(1, "CPU threads for one graph; leave a core to the rest of the robot", minimum=1, maximum=64)


@dataclass(frozen=True)
class WindowConfig(_Checked):
    """How the streams are cut; length and frame count belong to the model."""

    section: ClassVar[str] = "window"
    hop_ticks: int = option(1, "grid ticks from one window to the next", unit="ticks", minimum=1, maximum=16)
    patience_seconds: float = option(0.3, "a stream that lags more than this is not waited for", unit="s", minimum=0.0, maximum=4.0)
    stall_seconds: float = option(0.5, "a stream with nothing new for this long is reported missing", unit="s", minimum=0.05, maximum=60.0)


@dataclass(frozen=True)
class ImageConfig(_Checked):
    """The camera's topic."""

    section: ClassVar[str] = "image"
    transport: str = option("raw", "raw: image_raw; compressed: image_raw/compressed", choices=("raw", "compressed"))
    reliability: str = option("best_effort", "QoS; best_effort also matches a reliable camera", choices=("best_effort", "reliable"))
    depth: int = option(5, "QoS queue depth", unit="messages", minimum=1, maximum=1000)


@dataclass(frozen=True)
class AudioConfig(_Checked):
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
class LabelsConfig(_Checked):
    """When a new label is believed (states always carry the raw probabilities beside it)."""

    section: ClassVar[str] = "labels"
    presence: float = option(
        0.5, 'the label is "unknown" while face and speech presence are both below this', minimum=0.0, maximum=1.0, live=True
    )
    margin: float = option(0.1, "lead in probability a new label needs over the one that holds", minimum=0.0, maximum=1.0, live=True)
    dwell_seconds: float = option(0.5, "how long it must lead", unit="s", minimum=0.0, maximum=60.0, live=True)


@dataclass(frozen=True)
class ReasonerConfig(_Checked):
    """Explanations."""

    section: ClassVar[str] = "reasoner"
    enabled: bool = option(True, "load the language model; false gives labels only")
    on_change: bool = option(True, "explain when the label changes", live=True)
    period_seconds: float = option(10.0, "explain at least this often; 0.0 = never", unit="s", minimum=0.0, maximum=3600.0, live=True)
    max_tokens: int = option(80, "longest explanation", unit="tokens", minimum=1, maximum=1024, live=True)
    deadline_seconds: float = option(5.0, "an explanation is cut off after this time", unit="s", minimum=0.1, maximum=600.0, live=True)
    temperature: float = option(0.0, "0.0 = always the likeliest token", minimum=0.0, maximum=2.0, live=True)
    partial_hz: float = option(5.0, "partial texts while one is made; 0.0 = none", unit="1/s", minimum=0.0, maximum=30.0, live=True)


@dataclass(frozen=True)
class PerceptionConfig(_Checked):
    """Consent."""

    section: ClassVar[str] = "perception"
    enabled: bool = option(
        True, "look and listen at all; false closes the inputs and drops what is held, as the service ~/enabled does", live=True
    )


@dataclass(frozen=True)
class HriConfig(_Checked):
    """ROS4HRI (REP-155), where hri_msgs is installed."""

    section: ClassVar[str] = "hri"
    enabled: bool = option(True, "publish /humans/faces/<id>/expression where hri_msgs is installed")
    face_id: str = option("emollama", "the face's id while nobody publishes /humans/faces/tracked")


@dataclass(frozen=True)
class DiagnosticsConfig(_Checked):
    """/diagnostics."""

    section: ClassVar[str] = "diagnostics"
    period_seconds: float = option(1.0, "time between two reports", unit="s", minimum=0.1, maximum=60.0)


@dataclass(frozen=True)
class Config(_Checked):
    """Everything; `Config()` holds the defaults."""

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


def fields() -> list[ConfigField]:
    """Every parameter, in the order of the tree."""
    sections = [entry.default for entry in dataclasses.fields(Config) if isinstance(entry.default, _Checked)]
    return [entry for section in sections for entry in section.own_fields()] + list(Config.own_fields())


def flatten(config: Config) -> dict[str, Value]:
    """Dotted name -> value, in the order of the tree."""
    flat: dict[str, Value] = {}
    for entry in fields():
        section, _, name = entry.name.rpartition(".")
        flat[entry.name] = getattr(getattr(config, section) if section else config, name)
    return flat


def from_flat(values: Mapping[str, object], base: Config = Config()) -> Config:
    """`base` with the named values in place. ConfigError for an unknown name ("did you mean") or a value that breaks its rule."""
    known = {entry.name for entry in fields()}
    for name in values:
        if name not in known:
            raise ConfigError(f"unknown parameter {name!r}{suggestion(name, known) or '; see: emollama analyze --help'}")
    sections: dict[str, dict[str, Any]] = {"": {}}
    for name, value in values.items():
        section, _, leaf = name.rpartition(".")
        sections.setdefault(section, {})[leaf] = value
    changed = sections.pop("")
    changed.update({section: dataclasses.replace(getattr(base, section), **leaves) for section, leaves in sections.items()})
    return dataclasses.replace(base, **changed)


def suggestion(name: str, known: Collection[str]) -> str:
    """Ending of an error, "; did you mean …?", when something known or its last part is spelt almost like `name`; else empty."""
    leaves = {entry.rpartition(".")[2]: entry for entry in sorted(known, reverse=True)}
    close = difflib.get_close_matches(name, sorted(known), n=1) or [
        leaves[leaf] for leaf in difflib.get_close_matches(name.rpartition(".")[2], sorted(leaves), n=1)
    ]
    return f"; did you mean {close[0]!r}?" if close else ""


def load_yaml(path: Path | str, node: str = "perception") -> Config:
    """A ROS params file: sections `/**` and the node's own, nested or dotted names below `ros__parameters`. Other nodes' sections are
    left alone. ConfigError naming the file."""
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except Exception as error:  # beside its own, PyYAML lets out what a scalar's constructor raises: any error there is
        raise ConfigError(f"cannot read parameters from {path}: {error}; see config/perception.yaml for the form") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} holds no sections; see config/perception.yaml for the form")
    flat: dict[str, object] = {}
    wanted = [key for key in content if key == "/**"] + [key for key in content if key != "/**" and str(key).rpartition("/")[2] == node]
    for key in wanted:
        body = content[key]
        if not isinstance(body, Mapping) or not isinstance(body.get("ros__parameters"), Mapping):
            raise ConfigError(f"{path}: section {key!r} has no ros__parameters; see config/perception.yaml for the form")
        flat.update(itertools.islice(_dotted(body["ros__parameters"], ""), PARAMETERS_READ))
    if not wanted:
        raise ConfigError(f"{path} has no section for {node!r} (it has: {', '.join(map(str, content))}); name it {node} or /**")
    try:
        return from_flat({name: value for name, value in flat.items() if name.split(".")[0] not in ROS_OWN_PARAMETERS})
    except ValueError as error:  # ConfigError, and numbers that are too long to be printed
        raise ConfigError(f"{path}: {error}") from error


def _dotted(tree: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    if prefix.count(".") > NESTING_READ:
        raise ConfigError(f"parameters are nested too deeply at {prefix[:60]}…; see config/perception.yaml for the form")
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def to_yaml(config: Config = Config(), node: str = "perception") -> str:
    """A ROS params file that holds every parameter, its help as a comment. `load_yaml` reads it back."""
    lines = [
        f"# Parameters of the {node} node, with their defaults. Made from ros2_emollama/config.py.",
        f"/**/{node}:",
        "  ros__parameters:",
    ]
    flat, current = flatten(config), ""
    for entry in fields():
        section, _, name = entry.name.rpartition(".")
        if section and section != current:
            lines.append(f"    {section}:")
            current = section
        indent = "      " if section else "    "
        lines.append(f"{indent}# {entry.description}{'; may change while running' if entry.live else ''}")
        lines.append(f"{indent}{name}: {_yaml_scalar(flat[entry.name])}")
    return "\n".join(lines) + "\n"


def _yaml_scalar(value: Value) -> str:
    import yaml

    return str(yaml.safe_dump(value, default_flow_style=True, width=math.inf)).splitlines()[0]


def add_arguments(parser: argparse._ActionsContainer, prefixes: Collection[str] = ()) -> None:
    """One `--section.name` for every parameter whose section is in `prefixes` (all when empty); `from_arguments` reads them."""
    for entry in fields():
        if prefixes and entry.name.partition(".")[0] not in prefixes:
            continue
        parser.add_argument(
            f"--{entry.name}",
            dest=entry.name,
            type=_parse_bool if entry.type is bool else entry.type,
            default=argparse.SUPPRESS,
            choices=entry.choices or None,
            metavar=None if entry.choices else entry.type.__name__.upper(),
            help=f"{entry.description}, default {entry.default}".replace("%", "%%"),
        )


def _parse_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"must be true or false, got {text!r}")
    return text.lower() == "true"


def from_arguments(arguments: argparse.Namespace, base: Config = Config()) -> Config:
    """The parameters given on the command line, over `base`."""
    known = {entry.name for entry in fields()}
    return from_flat({name: value for name, value in vars(arguments).items() if name in known}, base)
