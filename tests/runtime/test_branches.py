"""Several continuations in one pass give what each gives alone, in every runtime that branches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from ros2_emollama.model.folder import open_folder
from ros2_emollama.runtime.base import BranchingLlama, branching, sees
from ros2_emollama.runtime.factory import open_runtime

PARENTS = (-1, -1, 0, 1, 2, 2, -1)


def words(count: int) -> np.ndarray:
    return (0.3 * np.random.default_rng(5).standard_normal((count, 64))).astype(np.float32)


@pytest.fixture(scope="module", params=["onnxruntime", "torch"])
def session(request: pytest.FixtureRequest, tiny_model_folder: Path) -> BranchingLlama:
    _, opened = open_runtime(open_folder(tiny_model_folder), request.param)
    assert opened is not None
    found = branching(opened)
    assert found is not None
    return found


def test_each_branch_gives_what_it_gives_alone(session: BranchingLlama) -> None:
    rows, before = words(len(PARENTS)), words(9)
    session.rewind(0)
    session.extend(before)
    found = session.extend_tree(rows, PARENTS)
    assert session.position == 9 + len(PARENTS)
    for place in range(len(PARENTS)):
        line = [place]
        while PARENTS[line[0]] >= 0:
            line.insert(0, PARENTS[line[0]])
        session.rewind(9)
        np.testing.assert_allclose(session.extend(rows[line]), found[place], atol=2e-5)


def test_a_chain_can_be_kept_in_part(session: BranchingLlama) -> None:
    rows, before = words(6), words(9)
    session.rewind(0)
    session.extend(before)
    session.extend(rows[:4])
    expected = session.extend(rows[5:])
    session.rewind(9)
    session.extend_tree(rows, range(-1, 5))
    session.rewind(13)
    np.testing.assert_allclose(session.extend(rows[5:]), expected, atol=2e-5)


def test_a_tree_must_fit_and_be_in_order(session: BranchingLlama) -> None:
    session.rewind(0)
    with pytest.raises(ValueError, match="context holds 512 positions, 513"):
        session.extend_tree(words(513), range(-1, 512))
    with pytest.raises(ValueError, match="position 1 of a tree must follow an earlier one or -1, got 1"):
        session.extend_tree(words(2), (-1, 1))
    assert session.position == 0


def test_a_position_sees_itself_and_its_ancestors() -> None:
    np.testing.assert_array_equal(sees((-1, 0, 0)), [[1, 0, 0], [1, 1, 0], [1, 0, 1]])


def test_a_builders_graph_runs_without_branches(nano: Path) -> None:
    """The shipped model's graph is of onnxruntime-genai's builder as long as it is not exported again."""
    from ros2_emollama.runtime.onnx_runtime import OnnxLlama

    folder = open_folder(nano)
    session = OnnxLlama(folder)
    logits = session.extend(session.embed(np.array([1, 20, 30])))
    assert logits.shape == (folder.preset.llama.vocab,) and np.isfinite(logits).all()
    names = {item.name for item in session._session.get_inputs()}
    assert session.branches == ("attention_bias" in names) == (branching(session) is not None)
