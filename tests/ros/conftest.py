"""What tests in a real graph share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.ros.graph import Graph, ScriptedPipeline


@pytest.fixture
def graph() -> Iterator[Graph]:
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
    """Pipelines made in this test."""
    from ros2_emollama.ros import perception_node
    from tests.ros.graph import ScriptedPipeline

    made: list[ScriptedPipeline] = []

    def load(config: Any) -> ScriptedPipeline:
        made.append(ScriptedPipeline(config))
        return made[-1]

    monkeypatch.setattr(perception_node.Pipeline, "load", load)
    return made
