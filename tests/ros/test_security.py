"""config/sros2/emollama.policy.xml allows each node what it creates, and no more."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from rclpy.node import Node
from rclpy.parameter import Parameter

from ros2_emollama.doctor.about import TOPICS
from ros2_emollama.media import read_clip
from ros2_emollama.ros import perception_node
from ros2_emollama.ros.console_node import ConsoleNode
from ros2_emollama.ros.perception_node import PerceptionNode
from ros2_emollama.ros.player_node import PlayerNode, PlayOptions
from ros2_emollama.ros.reasoner_node import ReasonerNode
from ros2_emollama.share import share_file
from tests.core import clips
from tests.ros.graph import Graph, ScriptedPipeline, wait_until

pytestmark = pytest.mark.ros

POLICY = share_file("config/sros2/emollama.policy.xml")
KINDS = ("publish", "subscribe", "reply", "request")
Names = dict[str, set[str]]
HRI = {"publish": {"/humans/faces/*/expression"}, "subscribe": {"/humans/faces/tracked"}}


def policy() -> ElementTree.Element:
    return ElementTree.parse(POLICY).getroot()


def allowed(node: str) -> Names:
    """Full names by kind, an action as the topics and services it consists of: ROS 2's design of them."""
    [profile] = policy().findall(f".//profile[@node='{node}']")
    names: Names = {kind: set() for kind in KINDS}
    for rule in profile:
        for kind, verdict in rule.attrib.items():
            assert verdict == "ALLOW"
            for entry in rule:
                for part, full in _parts(kind, _full(str(entry.text), node)):
                    names[part].add(full)
    return names


def _full(name: str, node: str) -> str:
    return f"/{node}{name[1:]}" if name.startswith("~/") else "/" + name.lstrip("/")


def _parts(kind: str, name: str) -> Iterator[tuple[str, str]]:
    if kind not in ("execute", "call"):
        yield kind, name
        return
    serves = kind == "execute"
    yield from (("reply" if serves else "request", f"{name}/_action/{service}") for service in ("send_goal", "get_result", "cancel_goal"))
    yield from (("publish" if serves else "subscribe", f"{name}/_action/{topic}") for topic in ("feedback", "status"))


def created(watcher: Node, node: str) -> Names:
    """What a running node has, as another node sees it."""
    looks = {
        "publish": watcher.get_publisher_names_and_types_by_node,
        "subscribe": watcher.get_subscriber_names_and_types_by_node,
        "reply": watcher.get_service_names_and_types_by_node,
        "request": watcher.get_client_names_and_types_by_node,
    }
    return {kind: {name for name, _ in look(node, "/")} for kind, look in looks.items()}


@pytest.fixture
def graph() -> Iterator[Graph]:
    made = Graph()
    yield made
    made.close()


def as_created(graph: Graph, node: Any, enough: Callable[[Names], bool]) -> Names:
    watcher = graph.add(Node("watcher", context=graph.context))
    graph.add(node)
    wait_until(lambda: enough(created(watcher, node.get_name())))
    return created(watcher, node.get_name())


def differences(node: str, names: Names) -> tuple[Names, Names]:
    """What it has and may not, and what it may and has not."""
    may = allowed(node)
    return {kind: names[kind] - may[kind] for kind in KINDS}, {kind: may[kind] - names[kind] for kind in KINDS}


def nothing(but: Names) -> Names:
    return {kind: but.get(kind, set()) for kind in KINDS}


NEEDS_OTHERS = {"publish": HRI["publish"], "subscribe": {"/audio_info", *HRI["subscribe"]}}
"""What perception has only where other packages are installed."""
REMOTE = {"/emotion/reason/_action/feedback", "/emotion/reason/_action/status"}
REMOTE_REQUESTS = {f"/emotion/reason/_action/{service}" for service in ("send_goal", "get_result", "cancel_goal")}
"""What it has only where it asks another machine."""


@pytest.mark.parametrize(
    ("parameters", "unused"),
    [
        ({}, {"/clock", "/image_raw/compressed", *REMOTE}),
        ({"use_sim_time": True, "image.transport": "compressed"}, {"/image_raw", *REMOTE}),
        ({"reasoner.mode": "remote"}, {"/clock", "/image_raw/compressed"}),
    ],
    ids=["as shipped", "compressed pictures in a bag's time", "a reasoner on another machine"],
)
def test_perception_has_what_it_may(graph: Graph, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], unused: set[str]) -> None:
    if importlib.util.find_spec("hri_msgs") or importlib.util.find_spec("audio_common_msgs"):
        pytest.skip("packages are installed that perception makes use of")
    monkeypatch.setattr(perception_node.Pipeline, "load", lambda config, **_: ScriptedPipeline(config))
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    node = PerceptionNode(context=graph.context, parameter_overrides=overrides)
    assert node.start()
    names = as_created(graph, node, lambda names: len(names["subscribe"]) >= 3 and len(names["reply"]) >= 12)
    too_much, not_used = differences("perception", names)
    assert too_much == nothing({})
    away = {} if unused & REMOTE else {"request": set()}
    assert not_used == nothing(NEEDS_OTHERS | {"subscribe": NEEDS_OTHERS["subscribe"] | unused, "request": REMOTE_REQUESTS} | away)


def test_perception_has_the_topics_that_info_tells(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perception_node.Pipeline, "load", ScriptedPipeline)
    node = PerceptionNode(context=graph.context)
    assert node.start()
    names = as_created(graph, node, lambda names: len(names["subscribe"]) >= 3 and len(names["reply"]) >= 12)
    told = {
        direction: {_full(name, "perception") for kind, name, _ in TOPICS if kind == direction} for direction in ("in", "out", "service")
    }
    assert told["in"] == {name for name in names["subscribe"] if not name.startswith("/humans")}
    ros_own = {"/rosout", "/parameter_events", "/perception/transition_event"}
    assert told["out"] == {name for name in names["publish"] if "_action" not in name} - ros_own
    assert told["service"] <= names["reply"] and "/emotion/explain/_action/send_goal" in names["reply"]


def test_the_player_has_what_it_may(graph: Graph, tmp_path: Path) -> None:
    clip = read_clip(clips.write_clip(tmp_path / "clip.mp4", seconds=1.0))
    node = PlayerNode(clip, PlayOptions(wait_seconds=5.0), context=graph.context)
    names = as_created(graph, node, lambda names: len(names["publish"]) >= 4 and len(names["reply"]) >= 6)
    too_much, not_used = differences("player", names)
    assert too_much == nothing({}) and not_used == nothing({"subscribe": {"/clock"}})


def test_the_console_has_what_it_may_and_no_picture_or_sound(graph: Graph) -> None:
    node = ConsoleNode(io.StringIO(), context=graph.context)
    names = as_created(graph, node, lambda names: len(names["subscribe"]) >= 2 and len(names["reply"]) >= 6)
    too_much, not_used = differences("console", names)
    assert too_much == nothing({}) and not_used == nothing({"subscribe": {"/clock"}})
    assert not allowed("console")["subscribe"] & {"/image_raw", "/image_raw/compressed", "/audio", "/emotion/image_annotated"}


def test_the_reasoner_has_what_it_may_and_no_picture_or_sound(graph: Graph, some_model_folder: Path) -> None:
    node = ReasonerNode(context=graph.context, parameter_overrides=[Parameter("model.path", value=str(some_model_folder))])
    names = as_created(graph, node, lambda names: len(names["publish"]) >= 5 and len(names["reply"]) >= 9)
    too_much, not_used = differences("reasoner", names)
    assert too_much == nothing({}) and not_used == nothing({"subscribe": {"/clock"}})


@pytest.mark.parametrize("name", ["camera", "microphone"])
def test_a_source_has_what_it_may(graph: Graph, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip(f"ros2_emollama.ros.{name}_node")
    if name == "microphone":
        monkeypatch.setattr(module.portaudio, "load", SimpleNamespace)  # nothing to open: what it offers does not hang on that
    node = getattr(module, f"{name.capitalize()}Node")(context=graph.context)
    names = as_created(graph, node, lambda names: len(names["publish"]) >= 4 and len(names["reply"]) >= 6)
    too_much, not_used = differences(name, names)
    assert too_much == nothing({}) and not_used == nothing({"subscribe": {"/clock"}})


def test_the_operator_may_ask_for_all_that_perception_answers() -> None:
    assert allowed("perception")["reply"] == allowed("operator")["request"]


def test_only_the_operator_may_switch_perception() -> None:
    nodes = [str(profile.get("node")) for profile in policy().iter("profile")]
    assert [node for node in nodes if "/perception/enabled" in allowed(node)["request"]] == ["operator"]


def test_the_policy_has_the_form_that_ros2_security_reads() -> None:
    text = POLICY.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text, ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True)))
    assert root.attrib == {"version": "0.2.0"}
    [enclaves] = root.findall("enclaves")
    assert [child.tag for child in enclaves] == ["enclave"] * len(enclaves), "ros2 security takes a comment here for an enclave"
    for enclave in enclaves.findall("enclave"):
        [profile] = enclave.findall("profiles/profile")
        assert enclave.get("path") == f"/emollama/{profile.get('node')}" and profile.get("ns") == "/"
    assert ">~/" in text and not [line for line in text.splitlines() if ">~" in line and ">~/" not in line]


def test_a_node_without_its_keys_says_so_and_ends_with_status_two(tmp_path: Path) -> None:
    secured = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce", "ROS_SECURITY_KEYSTORE": str(tmp_path)}
    command = [sys.executable, "-m", "ros2_emollama.ros.perception_node", "--ros-args", "--enclave", "/emollama/perception"]
    done = subprocess.run(command, env=os.environ | secured, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ROS cannot start the node") and done.stderr.endswith("see: emollama doctor\n")
