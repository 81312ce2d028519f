"""The stage of the cases in this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.ros.foreign.scene import Scene
    from tests.ros.graph import Graph


@pytest.fixture
def scene(graph: Graph, elsewhere: Graph, scripted: list[Any], monkeypatch: pytest.MonkeyPatch) -> Scene:
    from tests.ros.foreign.scene import Scene

    return Scene(graph, elsewhere, monkeypatch)
