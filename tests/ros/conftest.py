"""Fixtures of the tests that run a ROS graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ros2_emollama.ros.perception_node import PerceptionNode
    from tests.ros.graph import Driver, Graph, ScriptedPipeline


@pytest.fixture
def graph() -> Iterator[Graph]:
    """A graph in a domain of its own."""
    from tests.ros.graph import Graph

    made = Graph()
    yield made
    made.close()


@pytest.fixture
def elsewhere(graph: Graph) -> Iterator[Graph]:
    """Another participant in the same domain, as another process is."""
    from tests.ros.graph import Graph

    made = Graph(beside=graph)
    yield made
    made.close()


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[ScriptedPipeline]:
    """Pipelines made in this test; they take the real one's place."""
    from ros2_emollama.ros import perception_node
    from tests.ros.graph import ScriptedPipeline

    made: list[ScriptedPipeline] = []

    def load(config: Any) -> ScriptedPipeline:
        made.append(ScriptedPipeline(config))
        return made[-1]

    monkeypatch.setattr(perception_node.Pipeline, "load", load)
    return made


@pytest.fixture
def running(graph: Graph, scripted: list[ScriptedPipeline]) -> tuple[PerceptionNode, Driver]:
    """An active node with a driver that has found it."""
    from tests.ros.graph import Driver, perception

    node = perception(graph, diagnostics__period_seconds=0.1)
    assert node.start()
    driver = Driver(graph.context)
    graph.add(node)
    graph.add(driver)
    driver.await_listener()
    return node, driver
