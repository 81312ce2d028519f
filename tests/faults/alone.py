"""Rows of the fault table that need a graph of their own, or one that does not start."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emollama.action import Explain
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.action import ActionClient

from .rig import REPOSITORY, Rig, claim
from .rows import RETURN_SECONDS, figures_hold

Row = Callable[[Path], str]
NANO = REPOSITORY / "models" / "nano"
DISCOVERY_SECONDS = 3.0  # Fast DDS's announcement period: a new process beside the traces of a killed one is found at the next one


def _broken_reasoner(clip: Path, fault: str, parameters: dict[str, Any]) -> Rig:
    os.environ["EMOLLAMA_FAULT"] = fault
    return Rig(clip, parameters, node="tests.faults.broken_reasoner")


def endless_explanation(clip: Path) -> str:
    """a language model that never finishes is stopped at its deadline, said so; labels do not wait"""
    parameters = {
        "reasoner.deadline_seconds": 0.1,
        "reasoner.max_tokens": 1024,
        "reasoner.temperature": 2.0,
        "reasoner.period_seconds": 0.25,
    }
    rig = _broken_reasoner(clip, "endless", parameters)
    try:
        time.sleep(2.0)
        first = len(rig.reasonings)
        held = figures_hold(rig)
        finals = [m for _, m in rig.reasonings[first:] if m.final]
        longest = max((m.total_seconds for m in finals), default=0.0)
        cut = sum(m.finish_reason == "deadline" for m in finals)
        claim(len(finals) >= 12 and cut >= 0.8 * len(finals), f"of {len(finals)} explanations {cut} ended at the deadline")
        claim(longest <= 0.6, f"one took {longest:.2f} s")
        return f"{cut} of {len(finals)} cut off at 0.1 s, the longest {longest:.2f} s, {held}"
    finally:
        rig.close()


def hanging_language_model(clip: Path) -> str:
    """labels do not wait for it, a question ends at its deadline, /diagnostics says so, deactivate and activate mend it"""
    rig = _broken_reasoner(clip, "hangs", {"reasoner.deadline_seconds": 0.5})
    try:
        rig.wait(lambda: rig.status("model")[0] == "ERROR", 10.0, "ERROR on /diagnostics")
        held = figures_hold(rig)
        asked = time.monotonic()
        client = ActionClient(rig.node, Explain, "emotion/explain")
        rig.wait(client.server_is_ready, 5.0, "the action")
        goal = client.send_goal_async(Explain.Goal(question="why?"))
        rig.wait(goal.done, 5.0, "the goal's acceptance")
        answer = goal.result().get_result_async()
        rig.wait(answer.done, 5.0, "the goal's end")
        ended = time.monotonic() - asked
        claim(answer.result().result.reasoning.finish_reason == "deadline", "the question did not end at its deadline")
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            claim(rig.call(ChangeState, "perception/change_state", request, 20.0).success, f"transition {transition} failed")
        first = len(rig.reasonings)
        rig.wait(lambda: any(m.finish_reason == "stop" for _, m in rig.reasonings[first:]), 10.0, "an explanation of the new model")
        return f"{held}, question ended after {ended:.1f} s, explains again after reactivation"
    finally:
        rig.close()


def altered_model(clip: Path) -> str:
    """a model file that is not the manifest's: stays unconfigured, says which; configures once it is mended"""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(shutil.copytree(NANO, Path(folder) / "nano"))
        graph = next(model.glob("*.onnx"))
        content = graph.read_bytes()
        graph.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        rig = Rig(clip, {"model.path": str(model)}, wait_active=False)
        try:
            rig.wait(lambda: rig.status("emotion perception")[0] == "ERROR", 15.0, "ERROR on /diagnostics")
            said = rig.status("emotion perception")[1]
            claim(graph.name in said, f"the report does not name {graph.name}: {said}")
            state = rig.call(GetState, "perception/get_state", GetState.Request()).current_state.label
            claim(state == "unconfigured", f"the node is {state}")
            graph.write_bytes(content)
            request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
            claim(rig.call(ChangeState, "perception/change_state", request, 20.0).success, "it does not configure with the mended file")
            return f"unconfigured, {graph.name} named, configures with the mended file"
        finally:
            rig.close()


def killed(clip: Path) -> str:
    """kill -9: started again it is active and gives states, while the sensors went on"""
    rig = Rig(clip)
    try:
        before = rig.perception.child.pid
        os.kill(before, signal.SIGKILL)
        rig.perception.child.wait()
        began = time.monotonic()
        rig.perception = rig.start_perception()  # as launch's respawn does
        active = rig.perception.wait_active()
        first = len(rig.states)
        rig.wait(lambda: len(rig.states) > first and not rig.newest.missing, 10.0, "a state")
        back = time.monotonic() - began
        claim(back <= active + DISCOVERY_SECONDS + RETURN_SECONDS, f"states {back - active:.2f} s after it was active")
        return f"active {active:.1f} s after the start, states {back:.1f} s after it"
    finally:
        rig.close()


def looped_bag(clip: Path) -> str:
    """/clock and stamps go back, as a looped bag's do: flushed and counted, states within 1.5 s, every time"""
    rig = Rig(clip, {"use_sim_time": True}, feeder=("--clock",))
    try:
        took = []
        for _ in range(3):
            time.sleep(2.0)
            first = len(rig.states)
            end = rig.newest.header.stamp.sec
            rig.feed(shift_seconds=-5.0)
            took.append(rig.wait(lambda end=end: rig.newest.header.stamp.sec < end - 2, 5.0, "a state of the new round"))
            rig.wait(lambda first=first: rig.dropped("clock_jumps", first) > 0, 3.0, "clock_jumps in a state")
        claim(max(took) <= RETURN_SECONDS, f"states after {max(took):.2f} s")
        return f"three rounds, states after {max(took):.2f} s at most"
    finally:
        rig.close()


def incompatible_qos(clip: Path) -> str:
    """a subscription that a best-effort sensor cannot serve is said in the log, with the cure"""
    rig = Rig(clip, {"image.reliability": "reliable"}, feeder=("--reliability", "best_effort"))
    try:
        rig.wait(lambda: bool(rig.logged("set image.reliability to best_effort")), 5.0, "a line in the log")
        claim(rig.newest.modalities == ["audio"], f"modalities are {list(rig.newest.modalities)}")
        return "said with its cure; labels go on from sound"
    finally:
        rig.close()


def unknown_parameter(clip: Path) -> str:
    """a parameter that does not exist ends the start with what was meant"""
    command = [sys.executable, "-m", "ros2_emollama.ros.perception_node", "--ros-args", "-p", "reasoner.max_token:=5"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    claim(ended.returncode == 2 and "did you mean 'reasoner.max_tokens'" in ended.stderr, ended.stderr[-300:])
    claim("Traceback" not in ended.stderr, "a traceback")
    return "refused, 'reasoner.max_tokens' proposed"


def interrupted(clip: Path) -> str:
    """Ctrl-C, twice in a row, at work: status 0, no traceback"""
    rig = Rig(clip)
    try:
        rig.recover()
        for _ in range(2):
            rig.perception.child.send_signal(signal.SIGINT)
            time.sleep(0.05)
        status = rig.perception.child.wait(10)
        claim(status == 0, f"status {status}")
        claim(not rig.logged("Traceback"), "a traceback")
        return "status 0"
    finally:
        rig.close()


ALONE: tuple[Row, ...] = (
    endless_explanation,
    hanging_language_model,
    altered_model,
    killed,
    looped_bag,
    incompatible_qos,
    unknown_parameter,
    interrupted,
)
