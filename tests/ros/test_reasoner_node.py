"""A language model on another machine: it says what it would say here, and when it is not there, labels go on."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from emollama.msg import Prefix
from rclpy.node import Node
from rclpy.parameter import Parameter

from ros2_emollama.config import Config, ModelConfig, ReasonerConfig
from ros2_emollama.model.folder import open_folder, write_manifest
from ros2_emollama.pipeline import Pipeline
from ros2_emollama.reasoner import Reasoner
from ros2_emollama.ros.prefixes import own_words, prefix_from_message, prefix_to_message
from ros2_emollama.ros.reasoner_node import ReasonerNode
from ros2_emollama.ros.remote_reasoner import LinkLost, ReasonerLink, RemoteReasoner
from ros2_emollama.ros.running import Refused
from ros2_emollama.runtime.base import RuntimeUnavailable
from ros2_emollama.runtime.factory import open_language
from ros2_emollama.types import UNKNOWN, Explanation, Float32, Percept
from tests.ros.graph import Driver, Graph, perception, said_by, wait_until
from tests.spine.test_pipeline import windows

pytestmark = pytest.mark.ros


class Scripted:
    """A talker whose words wait for `gate`, and which is deaf to all while `hang` is set."""

    name, after_scene = "scripted", np.zeros((0, 4), np.float32)

    def __init__(self) -> None:
        self.gate, self.hang = threading.Event(), threading.Event()
        self.gate.set()
        self.prefixes: list[Float32] = []

    def warm_up(self) -> None: ...

    def score_labels(self, prefix: Float32, labels: Any, transcript: str = "") -> Float32:
        self.prefixes.append(prefix)
        return np.arange(1, len(labels) + 1, dtype=np.float32) / sum(range(1, len(labels) + 1))

    def explain(
        self, percept: Percept, question: str, on_text: Callable[[str], None], cancelled: Callable[[], bool], *limits: Any
    ) -> Explanation:
        self.prefixes.append(percept.prefix)
        on_text("because")
        while self.hang.is_set():
            time.sleep(0.01)
        while not self.gate.wait(0.005):
            if cancelled():
                return Explanation(percept.state, "because", True, "cancelled", 1, 0.0, 0.0)
        return Explanation(percept.state, f"because {question or percept.state.label}", True, "stop", 2, 0.0, 0.0)


@pytest.fixture(scope="module")
def percept(some_model_folder: Path) -> Percept:
    return Pipeline.load(Config(model=ModelConfig(path=str(some_model_folder)))).perceive(windows(1)[0])


class Asking:
    """A node with a link, and threads to wait on it."""

    def __init__(self, graph: Graph, folder: Path, link_seconds: float = 2.0) -> None:
        self.node = graph.add(Node("asker", context=graph.context))
        self.link = ReasonerLink(self.node, link_seconds)
        self.remote = RemoteReasoner(self.link, open_folder(folder))
        self._threads = ThreadPoolExecutor(4)

    def ask(self, percept: Percept, **options: Any) -> Future[Explanation]:
        return self._threads.submit(self.remote.explain, percept, **options)


def serve(graph: Graph, folder: Path, talker: Any = None, **options: Any) -> ReasonerNode:
    made: ReasonerNode = graph.add(
        ReasonerNode(
            (lambda folder, config: talker) if talker else None,
            context=graph.context,
            parameter_overrides=[Parameter("model.path", value=str(folder))],
            **options,
        )
    )
    return made


@pytest.fixture
def asking(elsewhere: Graph, some_model_folder: Path) -> Asking:
    return Asking(elsewhere, some_model_folder)


@pytest.fixture
def talker(graph: Graph, asking: Asking, some_model_folder: Path) -> Iterator[Scripted]:
    """The scripted talker, serving."""
    made = Scripted()
    serve(graph, some_model_folder, made)
    wait_until(lambda: asking.link.ready)
    yield made
    made.hang.clear()
    made.gate.set()


def test_what_is_said_there_is_what_would_be_said_here(graph: Graph, asking: Asking, some_model_folder: Path, percept: Percept) -> None:
    folder = open_folder(some_model_folder)
    serve(graph, some_model_folder)
    wait_until(lambda: asking.link.ready)
    here = Reasoner(open_language(folder, "onnxruntime"), folder.language("tokenizer"), folder.preset)
    rounded = replace(percept, prefix=percept.prefix.astype(np.float16).astype(np.float32))
    texts: list[str] = []
    there = asking.ask(percept, max_tokens=12, deadline_seconds=30.0, on_text=texts.append).result(60.0)
    own = here.explain(rounded, max_tokens=12, deadline_seconds=30.0)
    assert (there.text, there.finish_reason, there.token_count) == (own.text, own.finish_reason, own.token_count)
    assert there.state is percept.state and there.final and (not there.text or texts[-1] == there.text)
    scores = asking.remote.score_labels(percept.prefix, folder.preset.labels)
    np.testing.assert_allclose(scores, here.score_labels(rounded.prefix, folder.preset.labels), atol=1e-6)
    assert asking.link.counters["bytes_sent"] == 2 * 2 * percept.prefix.size


def test_of_nobody_no_feeling_is_claimed_where_the_language_model_never_read_the_labels(
    graph: Graph, elsewhere: Graph, some_model_folder: Path, percept: Percept, tmp_path: Path
) -> None:
    """Here and there alike: such a model's answers begin with the label that is asked about."""
    shutil.copytree(some_model_folder, tmp_path, dirs_exist_ok=True)
    manifest = open_folder(tmp_path).manifest
    write_manifest(tmp_path, replace(manifest, preset=replace(manifest.preset, prompt="nano_begun")))
    folder, asking = open_folder(tmp_path), Asking(elsewhere, tmp_path)
    serve(graph, tmp_path)
    wait_until(lambda: asking.link.ready)
    here = Reasoner(open_language(folder, "onnxruntime"), folder.language("tokenizer"), folder.preset)
    rounded = replace(percept, prefix=percept.prefix.astype(np.float16).astype(np.float32))
    for held, begins in ((UNKNOWN, False), (percept.state.labels[1], True)):
        state = replace(percept.state, held=held)
        there = asking.ask(replace(percept, state=state), max_tokens=12, deadline_seconds=30.0).result(60.0)
        assert there.text == here.explain(replace(rounded, state=state), max_tokens=12, deadline_seconds=30.0).text
        assert there.text.startswith("The person seems") == begins


def test_a_question_without_a_label_is_refused_where_labels_were_learnt(talker: Scripted, asking: Asking, percept: Percept) -> None:
    goal = asking.remote._goal(percept.prefix, 1, "")
    goal.max_tokens, goal.deadline_seconds = 4, 5.0
    with pytest.raises(RuntimeError, match=r"'' is no label of"):
        asking.link.ask(goal, lambda text: None, lambda: "")


def test_one_window_is_read_once(talker: Scripted, asking: Asking, percept: Percept) -> None:
    asking.remote.score_labels(percept.prefix, ("a", "b"))
    asking.remote.score_labels(percept.prefix, ("a", "b", "c"))
    assert talker.prefixes[0] is talker.prefixes[1]
    asking.remote.score_labels(percept.prefix + 1.0, ("a", "b"))
    assert talker.prefixes[2] is not talker.prefixes[1]


def test_an_answer_can_be_taken_back(talker: Scripted, asking: Asking, percept: Percept) -> None:
    talker.gate.clear()
    taken_back, texts = threading.Event(), []
    asked = asking.ask(percept, cancelled=taken_back.is_set, deadline_seconds=30.0, on_text=texts.append)
    wait_until(lambda: texts == ["because"])
    taken_back.set()
    answer = asked.result(5.0)
    assert (answer.finish_reason, answer.text) == ("cancelled", "because")
    talker.gate.set()
    assert asking.ask(percept, question="again?").result(5.0).text == "because again?", "the cancel reached the other machine"


def test_a_newer_question_takes_the_place_of_the_one_that_waits(talker: Scripted, asking: Asking, percept: Percept) -> None:
    talker.gate.clear()
    begun: list[str] = []
    first = asking.ask(percept, question="first", deadline_seconds=30.0, on_text=begun.append)
    wait_until(lambda: bool(begun))
    second = asking.ask(percept, question="second", deadline_seconds=30.0)
    time.sleep(0.5)
    third = asking.ask(percept, question="third", deadline_seconds=30.0)
    with pytest.raises(RuntimeError, match="overtaken"):
        second.result(5.0)
    talker.gate.set()
    assert (first.result(5.0).text, third.result(5.0).text) == ("because first", "because third")


def test_a_deadline_holds_though_the_model_hangs_and_then_the_node_leaves(
    graph: Graph, talker: Scripted, asking: Asking, percept: Percept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ros2_emollama.ros.reasoner_node.HUNG_SECONDS", 0.5)
    talker.hang.set()
    began = time.monotonic()
    answer = asking.ask(percept, deadline_seconds=0.5).result(5.0)
    assert (answer.finish_reason, answer.text) == ("deadline", "because") and time.monotonic() - began < 1.0
    wait_until(lambda: not graph.context.ok())


def test_nobody_there_is_said_with_the_cure(asking: Asking, percept: Percept) -> None:
    with pytest.raises(LinkLost, match=r"ros2 launch emollama reasoner\.launch\.py"):
        asking.remote.explain(percept)
    assert asking.link.counters["lost"] == 1 and "no reasoner serves" in asking.link.trouble


def test_a_reasoner_that_falls_silent_is_lost_and_one_that_thinks_is_not(
    graph: Graph, elsewhere: Graph, some_model_folder: Path, percept: Percept
) -> None:
    asking = Asking(elsewhere, some_model_folder, link_seconds=1.0)
    talker = Scripted()
    node = serve(graph, some_model_folder, talker)
    wait_until(lambda: asking.link.ready)
    talker.gate.clear()
    asked = asking.ask(percept, deadline_seconds=30.0)
    time.sleep(2.0)
    assert not asked.done(), "it sends signs of life"
    node._look = lambda: None  # type: ignore[method-assign]
    for timer in node.timers:
        timer.cancel()
    with pytest.raises(LinkLost, match=r"silent for 1 s"):
        asked.result(5.0)
    talker.gate.set()


def test_another_model_is_refused_by_name(graph: Graph, asking: Asking, some_model_folder: Path, percept: Percept) -> None:
    node = serve(graph, some_model_folder, Scripted())
    node._model_id = "other@0123"
    wait_until(lambda: asking.link.ready)
    with pytest.raises(RuntimeError, match=r"refused: the prefix was made by .*, this reasoner runs 'other@0123'; copy the model folder"):
        asking.ask(percept).result(5.0)


def test_a_model_that_cannot_be_loaded_ends_the_node_with_the_cure(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"manifest\.json is missing"):
        serve(graph, tmp_path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda m: setattr(m, "tokens", 99), "does not fit"),
        (lambda m: setattr(m, "width", 3), "does not fit"),
        (lambda m: setattr(m, "data", m.data[:-2]), "does not fit"),
        (lambda m: setattr(m, "data", b"\x00\x7c" + bytes(m.data[2:])), "not finite"),
    ],
)
def test_a_prefix_that_is_not_one_is_refused(some_model_folder: Path, percept: Percept, spoil: Callable[[Any], None], reason: str) -> None:
    folder = open_folder(some_model_folder)
    message = prefix_to_message(Prefix(), percept.prefix, "m", 5)
    spoil(message)
    with pytest.raises(ValueError, match=reason):
        prefix_from_message(message, folder, "m", np.zeros((0, folder.preset.llama.hidden), np.float32))


def test_words_of_the_prompt_are_put_in_where_they_were_marked(some_model_folder: Path, percept: Percept) -> None:
    folder, prefix = open_folder(some_model_folder), percept.prefix
    words = np.ones((3, folder.preset.llama.hidden), np.float32)
    marked = np.concatenate([prefix[:2], own_words(folder.preset.llama.hidden), prefix[2:]])
    read = prefix_from_message(prefix_to_message(Prefix(), marked, "m", 5), folder, "m", words)
    np.testing.assert_allclose(read, np.concatenate([prefix[:2], words, prefix[2:]]), rtol=1e-3, atol=1e-6)


def test_only_the_node_can_ask_another_machine(some_model_folder: Path) -> None:
    config = Config(model=ModelConfig(path=str(some_model_folder)), reasoner=ReasonerConfig(mode="remote"))
    with pytest.raises(RuntimeUnavailable, match="set it to local"):
        Pipeline.load(config)


def test_a_robot_without_the_language_model_explains_when_the_other_machine_is_there_and_labels_meanwhile(
    graph: Graph, elsewhere: Graph, some_model_folder: Path, tmp_path: Path
) -> None:
    robot = tmp_path / "robot"
    robot.mkdir()
    for entry in some_model_folder.iterdir():
        if entry.name != "llama":
            (robot / entry.name).symlink_to(entry)
    node = perception(elsewhere, model__path=str(robot), reasoner__mode="remote", reasoner__period_seconds=0.5, labels__presence=0.0)
    logged = said_by(node)
    assert node.start(), logged
    driver = Driver(elsewhere.context)
    elsewhere.add(node)
    elsewhere.add(driver)
    driver.await_listener()
    driver.feed(2.0)
    wait_until(lambda: len(driver.states) > 4 and node._link.counters["lost"] > 0)
    assert not [message for message in driver.reasonings if message.explanation]
    assert any("reasoner failed: no reasoner serves" in line for line in logged)
    serve(graph, some_model_folder)
    wait_until(lambda: node._link.ready)

    def explained() -> bool:
        driver.feed(0.5)
        return any(message.final and message.finish_reason in ("stop", "length") for message in driver.reasonings)

    wait_until(explained)
    assert any("the reasoner answers again" in line for line in logged)
    assert node._link.counters["bytes_sent"] > 0
