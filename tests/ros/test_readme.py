"""The README's tables of topics and parameters are the code's."""

from __future__ import annotations

import re

import pytest

from ros2_emollama.config import CameraConfig, Config, MicrophoneConfig, ReasonerNodeConfig
from ros2_emollama.options import to_markdown
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("tree", [Config(), MicrophoneConfig(), CameraConfig(), ReasonerNodeConfig()], ids=lambda tree: tree.node)
def test_the_parameters_are_those_of_the_tree(tree: Config) -> None:
    """To write them anew:
    python -c "from ros2_emollama.config import *; from ros2_emollama.options import to_markdown; print(to_markdown(Config()))" """
    assert to_markdown(tree) in README


@pytest.mark.ros
def test_every_fault_and_its_claim_is_in_the_table() -> None:
    pytest.importorskip("rclpy")
    pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")
    from tests.faults.alone import ALONE
    from tests.faults.rows import SHARED

    for row in (*SHARED, *ALONE):
        assert f"| {row.__name__.replace('_', ' ')} | {row.__doc__} |" in README
    assert f"in {len(SHARED) + len(ALONE)} ways" in README


EVERY_NODES = (
    "/rosout", "/parameter_events", "/clock", "/emotion/explain/_action", "/perception/transition_event", "/perception/get_",
    "/perception/set_", "/perception/list_", "/perception/change_state", "/perception/describe_",
)  # fmt: skip
"""What every lifecycle node has, and the parts of the action."""


def rows() -> dict[str, tuple[str, str]]:
    """Name in the README's table of topics → its direction and types."""
    section = README.partition("## Topics")[2].partition("\n## ")[0]
    found = re.findall(r"^\| (`.*?) \| (\w+) \| (.*?) \|", section, re.MULTILINE)
    return {name: (way, types) for names, way, types in found for name in re.findall(r"`([^`]+)`", names)}


@pytest.mark.ros
def test_every_topic_service_and_action_of_the_running_node_is_in_the_table(request: pytest.FixtureRequest) -> None:
    pytest.importorskip("rclpy")
    pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")
    _, driver = request.getfixturevalue("running")
    seen = {
        "out": driver.get_publisher_names_and_types_by_node("perception", "/"),
        "in": driver.get_subscriber_names_and_types_by_node("perception", "/"),
        "service": driver.get_service_names_and_types_by_node("perception", "/"),
    }
    assert {"/emotion/state", "/emotion/image_annotated", "/diagnostics"} <= {name for name, _ in seen["out"]}
    table = rows()
    for way, topics in seen.items():
        for name, types in topics:
            if name.startswith(EVERY_NODES):
                continue
            shown = name if name in table else name.removeprefix("/").replace("perception/", "~/")
            assert shown in table, f"{name} is not in the table"
            assert table[shown][0] == way, f"{name} is {way}"
            for kind in types:
                package, message = kind.split("/")[0], kind.split("/")[-1]
                assert f"{package}/" in table[shown][1] and message in table[shown][1], f"{name} is a {kind}"
    assert table["emotion/explain"] == ("action", "emollama/Explain")
