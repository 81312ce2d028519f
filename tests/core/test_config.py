"""Config: one tree behind ROS parameters, YAML and the command line."""

import argparse
import time
from pathlib import Path

import pytest

from ros2_emollama.config import (
    CameraConfig,
    Config,
    MicrophoneConfig,
    ModelConfig,
    ReasonerConfig,
    ReasonerNodeConfig,
    WindowConfig,
)
from ros2_emollama.options import ConfigError, Tree, add_arguments, fields, flatten, from_arguments, from_flat, load_yaml, to_yaml


@pytest.mark.parametrize("tree", [Config, CameraConfig, MicrophoneConfig, ReasonerNodeConfig])
def test_every_default_follows_its_own_rule_and_has_help(tree: type[Tree]) -> None:
    for field in fields(tree):
        field.check(field.default)
        assert field.help and type(field.default) is field.type


def test_flat_names_lead_back_to_the_same_tree() -> None:
    config = Config(model=ModelConfig(threads=3), reasoner=ReasonerConfig(period_seconds=0.0), autostart=False)
    assert flatten(config)["model.threads"] == 3
    assert from_flat(flatten(config), Config()) == config != Config()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reasoner.max_tokens": 0}, r"reasoner.max_tokens must be in \[1, 1024\], got 0"),
        ({"reasoner.max_tokens": 80.0}, "must be of type int, got 80.0"),
        ({"model.threads": True}, "must be of type int, got True"),
        ({"autostart": 1}, "must be of type bool, got 1"),
        ({"reasoner.period_seconds": 10}, "must be of type float, got 10; write 10.0"),
        ({"labels.margin": float("nan")}, r"labels.margin must be in \[0, 1\], got nan"),
        ({"reasoner.period_seconds": float("inf")}, "must be in"),
        ({"image.transport": "compresed"}, "one of raw, compressed, got 'compresed'; did you mean 'compressed'"),
        ({"model.path": ""}, "model.path must not be empty"),
    ],
)
def test_bad_values_die_at_birth(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_flat(values, Config())


def test_a_section_made_directly_names_itself_in_the_error() -> None:
    with pytest.raises(ValueError, match=r"window\.hop_ticks must be in"):
        WindowConfig(hop_ticks=0)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("reasoner.max_token", "reasoner.max_tokens"), ("max_tokens", "reasoner.max_tokens"), ("windows.hop_ticks", "window.hop_ticks")],
)
def test_unknown_names_get_did_you_mean(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown parameter '{name}'; did you mean '{meant}'"):
        from_flat({name: 1}, Config())


def test_yaml_made_from_the_tree_reads_back(tmp_path: Path) -> None:
    config = Config(model=ModelConfig(path="~/my models/v2: big"), window=WindowConfig(patience_seconds=1.0))
    path = tmp_path / "p.yaml"
    path.write_text(to_yaml(config))
    assert load_yaml(path, Config()) == config
    assert all(f"# {field.help}" in path.read_text() for field in fields(Config))


def test_yaml_of_a_node_overrides_the_wildcard_and_leaves_other_nodes_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "/robot/perception: {ros__parameters: {model: {threads: 2}}}\n"
        "/**: {ros__parameters: {use_sim_time: true, model.threads: 4, window: {hop_ticks: 2}}}\n"
        "player: {ros__parameters: {clip: a.mp4}}\n"
    )
    assert load_yaml(path, Config()) == Config(model=ModelConfig(threads=2), window=WindowConfig(hop_ticks=2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("perception: {ros__parameters: {model: {thread: 2}}}", "p.yaml: unknown parameter 'model.thread'; did you mean 'model.threads'"),
        ("perception: {model: {threads: 2}}", "no ros__parameters"),
        ("other: {ros__parameters: {}}", "no section for 'perception'"),
        ("[1, 2]", "holds no sections"),
        ("a: [", "cannot read parameters"),
    ],
)
def test_a_bad_params_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_yaml(path, Config())


def test_the_command_line_takes_the_same_names() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser, Config, ("model", "reasoner"))
    given = parser.parse_args(["--model.threads", "2", "--reasoner.period_seconds", "3", "--reasoner.enabled", "false"])
    expected = Config(model=ModelConfig(threads=2), reasoner=ReasonerConfig(period_seconds=3.0, enabled=False))
    assert from_arguments(given, Config()) == expected
    assert "--window.hop_ticks" not in parser.format_help()
    assert "tokens, in [1, 1024]" in " ".join(parser.format_help().split())


@pytest.mark.parametrize("tree", [Config, CameraConfig, MicrophoneConfig, ReasonerNodeConfig])
def test_the_shipped_params_files_are_made_from_the_trees(tree: type[Tree]) -> None:
    """To write one anew: python -c "from ros2_emollama import config, options; print(options.to_yaml(config.Config()), end='')" \
    > config/perception.yaml"""
    path = Path(__file__).parents[2] / "config" / f"{tree.node}.yaml"
    assert path.read_text(encoding="utf-8") == to_yaml(tree()) and load_yaml(path, tree()) == tree()


def test_a_device_may_be_empty_and_its_index_a_number() -> None:
    assert from_flat({"device": 2}, MicrophoneConfig()) == from_flat({"device": "2"}, MicrophoneConfig())
    assert from_flat({"device": ""}, MicrophoneConfig()).device == ""
    with pytest.raises(ConfigError, match="device must be of type str, got True"):
        from_flat({"device": True}, MicrophoneConfig())
    with pytest.raises(ConfigError, match="frame_id must not be empty"):
        from_flat({"frame_id": ""}, MicrophoneConfig())


@pytest.mark.parametrize(
    "text",
    [
        "/**: {ros__parameters: &a {model: *a}}",
        "perception: {ros__parameters: {autostart: 2001-99-99}}",
        "perception: {ros__parameters: {autostart: !!int x}}",
        "perception: {ros__parameters: {autostart: !!timestamp x}}",
        "perception: {ros__parameters: {model: {}}}",
        "[" * 500,
        "perception: {ros__parameters: {model.threads: 0x1" + "0" * 5000 + "}}",
    ],
)
def test_a_file_that_is_no_params_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"parameters"):
        load_yaml(path, Config())


def test_aliases_of_aliases_are_refused_at_once(tmp_path: Path) -> None:
    """Ten lines that stand for forty million parameters."""
    lines = [f"/**/n{i}: &a{i} {{{', '.join(f'k{j}: *a{i - 1}' for j in range(9))}}}" for i in range(1, 9)]
    path = tmp_path / "parameters.yaml"
    path.write_text("\n".join(["/**/n0: &a0 {p: 1}", *lines, "perception: {ros__parameters: *a8}"]))
    began = time.process_time()
    with pytest.raises(ConfigError, match="unknown parameter"):
        load_yaml(path, Config())
    assert time.process_time() - began < 1.0
