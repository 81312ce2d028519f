"""How parameters are told: frozen dataclasses whose fields carry help, unit, range and mark. What parameters there are: config.py.

ROS parameters, YAML files and `--help` are all made from a tree of them, under dotted names ("reasoner.max_tokens").
A value that breaks its rule dies at birth with a `ConfigError` naming the parameter, the rule and the value.
Knows nothing about ROS; imports PyYAML only where a file is read or written.
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
from typing import Any, ClassVar, TypeVar

Value = bool | int | float | str

NESTING_READ, PARAMETERS_READ = 8, 1000  # aliases in a file of ten lines can stand for more than a machine holds

ROS_OWN_PARAMETERS = ("use_sim_time", "start_type_description_service", "qos_overrides")
"""Parameters every ROS node has; a params file may hold them beside ours."""


class ConfigError(ValueError):
    """A parameter that does not exist or a value that breaks its rule; the message names both and the cure."""


@dataclass(frozen=True)
class ConfigField:
    """One parameter, as ROS descriptors, YAML comments and `--help` need it.

    live      it may change while the node runs; otherwise it is read-only after start
    empty     the empty text is a value too
    number    a text that may be written as a whole number: the index of a device
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
    empty: bool = False
    number: bool = False

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
        if isinstance(value, str) and not value and not self.empty:
            raise ConfigError(f"{self.name} must not be empty")


def option(default: Value, help: str, **facts: Any) -> Any:
    """A dataclass field with what `ConfigField` holds beside name and type."""
    return dataclasses.field(default=default, metadata={"help": help, **facts})


class Section:
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
class Tree(Section):
    """All parameters of one node: sections, and parameters of its own."""

    node: ClassVar[str]


T = TypeVar("T", bound=Tree)


def fields(tree: type[Tree]) -> list[ConfigField]:
    """Every parameter, in the order of the tree."""
    sections = [entry.default for entry in dataclasses.fields(tree) if isinstance(entry.default, Section)]
    return [entry for section in sections for entry in section.own_fields()] + list(tree.own_fields())


def flatten(config: Tree) -> dict[str, Value]:
    """Dotted name -> value, in the order of the tree."""
    flat: dict[str, Value] = {}
    for entry in fields(type(config)):
        section, _, name = entry.name.rpartition(".")
        flat[entry.name] = getattr(getattr(config, section) if section else config, name)
    return flat


def from_flat(values: Mapping[str, object], base: T) -> T:
    """`base` with the named values in place. ConfigError for an unknown name ("did you mean") or a value that breaks its rule."""
    known = {entry.name: entry for entry in fields(type(base))}
    for name in values:
        if name not in known:
            raise ConfigError(f"unknown parameter {name!r}{suggestion(name, known) or f'; see config/{base.node}.yaml'}")
    sections: dict[str, dict[str, Any]] = {"": {}}
    for name, value in values.items():
        section, _, leaf = name.rpartition(".")
        as_text = known[name].number and type(value) is int
        sections.setdefault(section, {})[leaf] = str(value) if as_text else value
    changed: dict[str, Any] = sections.pop("")
    changed.update({section: dataclasses.replace(getattr(base, section), **leaves) for section, leaves in sections.items()})
    return dataclasses.replace(base, **changed)


def suggestion(name: str, known: Collection[str]) -> str:
    """Ending of an error, "; did you mean …?", when something known or its last part is spelt almost like `name`; else empty."""
    leaves = {entry.rpartition(".")[2]: entry for entry in sorted(known, reverse=True)}
    close = difflib.get_close_matches(name, sorted(known), n=1) or [
        leaves[leaf] for leaf in difflib.get_close_matches(name.rpartition(".")[2], sorted(leaves), n=1)
    ]
    return f"; did you mean {close[0]!r}?" if close else ""


def load_yaml(path: Path | str, base: T) -> T:
    """`base` with what a ROS params file says: sections `/**` and the node's own, nested or dotted names below `ros__parameters`. Other
    nodes' sections are left alone. ConfigError naming the file."""
    import yaml

    form = f"see config/{base.node}.yaml for the form"
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except Exception as error:  # beside its own, PyYAML lets out what a scalar's constructor raises: any error there is
        raise ConfigError(f"cannot read parameters from {path}: {error}; {form}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} holds no sections; {form}")
    flat: dict[str, object] = {}
    wanted = [key for key in content if key == "/**"]
    wanted += [key for key in content if key != "/**" and str(key).rpartition("/")[2] == base.node]
    for key in wanted:
        body = content[key]
        if not isinstance(body, Mapping) or not isinstance(body.get("ros__parameters"), Mapping):
            raise ConfigError(f"{path}: section {key!r} has no ros__parameters; {form}")
        flat.update(itertools.islice(_dotted(body["ros__parameters"], "", form), PARAMETERS_READ))
    if not wanted:
        raise ConfigError(f"{path} has no section for {base.node!r} (it has: {', '.join(map(str, content))}); name it {base.node} or /**")
    try:
        return from_flat({name: value for name, value in flat.items() if name.split(".")[0] not in ROS_OWN_PARAMETERS}, base)
    except ValueError as error:  # ConfigError, and numbers that are too long to be printed
        raise ConfigError(f"{path}: {error}") from error


def _dotted(tree: Mapping[str, object], prefix: str, form: str) -> Iterator[tuple[str, object]]:
    if prefix.count(".") > NESTING_READ:
        raise ConfigError(f"parameters are nested too deeply at {prefix[:60]}…; {form}")
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _dotted(value, f"{prefix}{key}.", form)
        else:
            yield f"{prefix}{key}", value


def to_yaml(config: Tree) -> str:
    """A ROS params file that holds every parameter, its help as a comment. `load_yaml` reads it back."""
    lines = [
        f"# Parameters of the {config.node} node, with their defaults. Made from ros2_emollama/config.py.",
        f"/**/{config.node}:",
        "  ros__parameters:",
    ]
    flat, current = flatten(config), ""
    for entry in fields(type(config)):
        section, _, name = entry.name.rpartition(".")
        if section and section != current:
            lines.append(f"    {section}:")
            current = section
        indent = "      " if section else "    "
        lines.append(f"{indent}# {entry.description}{'; may change while running' if entry.live else ''}")
        lines.append(f"{indent}{name}: {_yaml_scalar(flat[entry.name])}")
    return "\n".join(lines) + "\n"


def to_markdown(config: Tree) -> str:
    """A table of every parameter, for a README."""
    lines = ["| parameter | default | what it is |", "|---|---|---|"]
    for name, entry in zip(flatten(config), fields(type(config)), strict=True):
        live = "; may change while running" if entry.live else ""
        lines.append(f"| `{name}` | `{_yaml_scalar(flatten(config)[name])}` | {entry.description}{live} |".replace("<id>", "\\<id>"))
    return "\n".join(lines) + "\n"


def _yaml_scalar(value: Value) -> str:
    import yaml

    return str(yaml.safe_dump(value, default_flow_style=True, width=math.inf)).splitlines()[0]


def add_arguments(parser: argparse._ActionsContainer, tree: type[Tree], prefixes: Collection[str] = ()) -> None:
    """One `--section.name` for every parameter whose section is in `prefixes` (all when empty); `from_arguments` reads them."""
    for entry in fields(tree):
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


def from_arguments(arguments: argparse.Namespace, base: T) -> T:
    """The parameters given on the command line, over `base`."""
    known = {entry.name for entry in fields(type(base))}
    return from_flat({name: value for name, value in vars(arguments).items() if name in known}, base)
