"""The fault table, a function a row: break something, check the claim (its docstring), say what was measured. Raises `Missed`.

The rows here share one running graph; those of alone.py start their own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import psutil
from emollama.msg import EmotionState
from std_srvs.srv import SetBool

from benchmarks.__main__ import LIMITS
from tests.reasoner.injections import INJECTIONS

from .rig import Missed, Rig, claim

Row = Callable[[Rig], str]
NOTICE_SECONDS, RETURN_SECONDS = 1.0, 1.5
MEASURED_SECONDS = 4.0
SETTLE_SECONDS = 1.0  # a stream that has just stopped is waited for once, for window.patience_seconds
FIGURES = ("states_per_second", "hops_lost", "stamp_to_state_ms_p50", "stamp_to_state_ms_p99", "cpu_cores", "rss_mb", "first_token_ms_p99")


def figures_hold(rig: Rig, stamp: str = "newest_frame") -> str:
    """The benchmark's promises, checked while the fault lasts; a line of figures."""
    found = rig.measure(MEASURED_SECONDS, stamp)
    for name in FIGURES:
        sign, limit = LIMITS[name]
        value = found[name]
        if np.isnan(value):  # nothing was explained in this time: of nobody there is nothing to say
            continue
        claim(value <= limit if sign == "≤" else value >= limit, f"{name} {value:.2f}, promised {sign} {limit:g}")
    p50, p99 = found["stamp_to_state_ms_p50"], found["stamp_to_state_ms_p99"]
    return f"{found['states_per_second']:.2f}/s, p50 {p50:.0f} p99 {p99:.0f} ms, none lost"


def goes_missing(rig: Rig, stream: str, **command: str) -> float:
    """Seconds from the fault to the state that names the stream missing."""
    began = rig.feed(**command)
    rig.wait(lambda: stream in rig.newest.missing, 5.0, f"{stream} among the missing")
    noticed = time.monotonic() - began
    claim(noticed <= NOTICE_SECONDS, f"noticed after {noticed:.2f} s")
    return noticed


def comes_back(rig: Rig) -> float:
    back = rig.recover()
    claim(back <= RETURN_SECONDS, f"back after {back:.2f} s")
    return back


def camera_unplugged(rig: Rig) -> str:
    """noticed within 1 s, labels go on from sound, back by itself within 1.5 s"""
    noticed = goes_missing(rig, "video", camera="off")
    rig.wait(lambda: rig.status("camera")[0] == "STALE", 2.0, "STALE on /diagnostics")
    held = figures_hold(rig, "end")
    claim(list(rig.newest.modalities) == ["audio"], f"modalities are {list(rig.newest.modalities)}")
    claim(bool(rig.logged("the camera stopped")), "the log does not say that the camera stopped")
    back = comes_back(rig)
    return f"noticed {noticed:.2f} s, {held}, back {back:.2f} s"


def microphone_unplugged(rig: Rig) -> str:
    """noticed within 1 s, labels go on from pictures, back by itself within 1.5 s"""
    noticed = goes_missing(rig, "audio", microphone="off")
    rig.wait(lambda: rig.status("microphone")[0] == "STALE", 2.0, "STALE on /diagnostics")
    held = figures_hold(rig)
    claim(list(rig.newest.modalities) == ["video"], f"modalities are {list(rig.newest.modalities)}")
    back = comes_back(rig)
    return f"noticed {noticed:.2f} s, {held}, back {back:.2f} s"


def microphone_says_nothing(rig: Rig) -> str:
    """zeros or a constant, as unplugged microphones send, count as no microphone within 1 s"""
    noticed = []
    for mode in ("zeros", "constant"):
        noticed.append(goes_missing(rig, "audio", microphone=mode))
        rig.wait(lambda: "same value" in rig.status("microphone")[1], 2.5, "a word on /diagnostics")
        if mode == "zeros":
            time.sleep(3.5)
            claim(rig.newest.speech_presence == 0.0, f"speech presence of silence is {rig.newest.speech_presence:.2f}")
        comes_back(rig)
    return f"noticed {noticed[0]:.2f} and {noticed[1]:.2f} s; speech presence of exact silence is 0"


def both_unplugged(rig: Rig) -> str:
    """said in the log within 1 s; states come back within 1.5 s"""
    since = len(rig.perception.lines)
    began = rig.feed(camera="off", microphone="off")
    rig.wait(lambda: len({s for s in ("camera", "microphone") if rig.logged(f"the {s} stopped", since)}) == 2, 5.0, "two lines in the log")
    noticed = time.monotonic() - began
    claim(noticed <= NOTICE_SECONDS, f"noticed after {noticed:.2f} s")
    rig.wait(lambda: rig.status("emotion perception")[0] == "WARN", 2.5, "WARN on /diagnostics")
    time.sleep(2.0)
    return f"noticed {noticed:.2f} s, back {comes_back(rig):.2f} s"


def _broken_stream(rig: Rig, cause: str, stamp: str, **command: str) -> str:
    """Refused, counted, and the other stream's figures hold."""
    first = len(rig.states)
    rig.feed(**command)
    time.sleep(SETTLE_SECONDS)
    held = figures_hold(rig, stamp)
    claim(not rig.dropped("hops_lost", first), "a hop was lost when it began")
    counted = rig.dropped(cause, first)
    claim(counted > 0, f"{cause} was not counted")
    claim(rig.perception.child.poll() is None, "the node died")
    lines = len(rig.logged(cause)) or len(rig.logged("more of these are only counted"))
    claim(lines <= 40, f"{lines} lines in the log")
    back = comes_back(rig)
    return f"{counted} × {cause}, {held}, back {back:.2f} s"


def nan_sound(rig: Rig) -> str:
    """NaN and infinity never reach an encoder: refused and counted; pictures' figures hold"""
    said = [_broken_stream(rig, "audio_not_finite", "newest_frame", microphone=mode) for mode in ("nan", "inf")]
    claim(all(np.isfinite(m.probabilities).all() for _, m in rig.states), "a state holds NaN")
    return said[0]


def mp3_read_as_samples(rig: Rig) -> str:
    """mp3 announced as samples is refused with the reason"""
    return _broken_stream(rig, "audio_coded", "newest_frame", microphone="mp3")


def odd_sound(rig: Rig) -> str:
    """a chunk that is no whole number of samples is refused and counted"""
    return _broken_stream(rig, "audio_size", "newest_frame", microphone="odd")


def sample_rate_changes(rig: Rig) -> str:
    """the ring is flushed and the change counted, labels go on, sound is heard again at once"""
    first = len(rig.states)
    rig.feed(microphone="rates")
    held = figures_hold(rig)
    changes = rig.dropped("audio_format_changes", first)
    claim(2 <= changes <= 6, f"{changes} changes were counted in {MEASURED_SECONDS:g} s of one a second")
    heard = [m for _, m in rig.states[first:] if "audio" in m.modalities]
    claim(len(heard) >= 0.7 * (len(rig.states) - first), f"only {len(heard)} of {len(rig.states) - first} states heard anything")
    return f"{changes} changes, {held}, back {comes_back(rig):.2f} s"


def channels_change(rig: Rig) -> str:
    """two channels instead of one are mixed; nothing is lost"""
    first = len(rig.states)
    rig.feed(microphone="channels")
    held = figures_hold(rig)
    claim(not any(m.missing for _, m in rig.states[first + 4 :]), "a stream went missing")
    return f"{held}, back {comes_back(rig):.2f} s"


def corrupt_pictures(rig: Rig) -> str:
    """short data, a step that cannot be, a size that cannot be: refused and counted; sound's figures hold"""
    said = [
        _broken_stream(rig, cause, "end", camera=mode)
        for mode, cause in (("short", "image_data_short"), ("bad_step", "image_data_short"), ("huge", "image_size"))
    ]
    return said[0]


def unknown_encoding(rig: Rig) -> str:
    """one line in the log names the encoding and what is supported; the rest is counted"""
    since = len(rig.perception.lines)
    said = _broken_stream(rig, "image_encoding", "end", camera="unknown_encoding")
    lines = rig.logged("rgb565", since)
    claim(len(lines) == 1 and "rgb8" in lines[0], f"{len(lines)} lines in the log")
    return said


def flood(rig: Rig) -> str:
    """120 pictures a second: those that no tick needs are not decoded, no hop is lost"""
    rig.feed(camera="flood")
    return f"{figures_hold(rig)}, back {comes_back(rig):.2f} s"


def slow_subscriber(rig: Rig) -> str:
    """one who takes a second for each message delays nobody else"""
    import threading

    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    context = rclpy.Context()
    rclpy.init(context=context)
    slow = rclpy.create_node("slow", context=context)
    slow.create_subscription(EmotionState, "emotion/state", lambda m: time.sleep(1.0), 1)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(slow)
    thread = threading.Thread(target=lambda: [executor.spin_once(timeout_sec=0.1) for _ in range(8)], daemon=True)
    thread.start()
    try:
        return figures_hold(rig)
    finally:
        thread.join(10)
        executor.shutdown()
        slow.destroy_node()
        rclpy.shutdown(context=context)


def clock_set_back(rig: Rig) -> str:
    """stamps that jump back by a minute: counted, everything held is dropped, states within 1.5 s"""
    return _jump(rig, -60.0, "clock_jumps")


def clock_set_forward(rig: Rig) -> str:
    """stamps that jump ahead by a minute: counted, states within 1.5 s"""
    return _jump(rig, 60.0, "gap_ticks")


def _jump(rig: Rig, seconds: float, cause: str) -> str:
    from ros2_emollama.ros.conversions import stamp_ns

    time.sleep(1.0)
    first, before_ns = len(rig.states), stamp_ns(rig.newest.header.stamp)
    rig.feed(shift_seconds=seconds)
    moved = seconds * 1e9 / 2
    took = rig.wait(lambda: (stamp_ns(rig.newest.header.stamp) - before_ns) * np.sign(seconds) > abs(moved), 5.0, "a state of the new time")
    claim(took <= RETURN_SECONDS, f"states of the new time after {took:.2f} s")
    rig.wait(lambda: rig.dropped(cause, first) > 0, 2.0, f"{cause} in a state")
    rig.feed(shift_seconds=-seconds)
    rig.wait(lambda: abs(stamp_ns(rig.newest.header.stamp) - time.time_ns()) < 2e9, 5.0, "a state of the present")
    return f"states of the new time after {took:.2f} s, {cause} {rig.dropped(cause, first)}"


def clocks_apart(rig: Rig) -> str:
    """a camera whose clock is an hour slow: labels go on from sound, the log says why and the cure"""
    since, first = len(rig.perception.lines), len(rig.states)
    rig.feed(camera_shift_seconds=-3600.0)
    rig.wait(lambda: bool(rig.logged("behind the microphone's", since)), 3.0, "a line in the log")
    held = figures_hold(rig, "end")
    late = rig.dropped("late_frames", first)
    claim(late > 0 and list(rig.newest.missing) == ["video"], f"{late} late frames, missing {list(rig.newest.missing)}")
    rig.feed(camera_shift_seconds=3600.0)
    return f"said with its cure, {late} late frames, {held}, back {comes_back(rig):.2f} s"


def hostile_transcript(rig: Rig) -> str:
    """108 injections change no probability of a scene that does not change"""
    rig.feed(camera="frozen", microphone="hum")
    time.sleep(5.0)
    first = len(rig.states)
    rig.wait(lambda: len(rig.states) > first + 2, 3.0, "states of the still scene")
    still = np.array(rig.newest.probabilities)
    first, heard = len(rig.states), 0
    for injection in INJECTIONS:
        rig.feed(transcript=injection.replace("\x00", " "))
        time.sleep(0.05)
    rig.wait(lambda: len(rig.states) >= first + 16, 6.0, "states")
    change = max(float(np.abs(np.array(m.probabilities) - still).max()) for _, m in rig.states[first:])
    heard = sum("text" in m.modalities for _, m in rig.states[first:])
    claim(heard > 8, f"only {heard} states held a transcript")
    claim(change < 1e-5, f"a probability changed by {change:.2g}")
    rig.recover()
    return f"{len(INJECTIONS)} injections, {heard} states with a transcript, largest change {change:.1g}"


def consent_taken_back(rig: Rig) -> str:
    """~/enabled false: no state after it, inputs closed; true: states within 1.5 s, nothing held from before"""
    answer = rig.call(SetBool, "perception/enabled", SetBool.Request(data=False))
    claim(answer.success, answer.message)
    closed = time.monotonic()
    time.sleep(0.1)
    first = len(rig.states)
    time.sleep(1.0)
    claim(len(rig.states) == first, f"{len(rig.states) - first} states came after it")
    claim(rig.node.count_subscribers("image_raw") == 0 and rig.node.count_subscribers("audio") == 0, "an input is still open")
    rig.call(SetBool, "perception/enabled", SetBool.Request(data=True))
    began = time.monotonic()
    rig.wait(lambda: len(rig.states) > first, 5.0, "a state")
    back = time.monotonic() - began
    claim(back <= RETURN_SECONDS, f"back after {back:.2f} s")
    rig.recover()
    return f"silent for {began - closed:.1f} s, back {back:.2f} s"


def network(rig: Rig) -> str:
    """no socket but those that DDS opens for any node: nothing listens on TCP"""
    empty = "import rclpy, time; rclpy.init(); node = rclpy.create_node('empty'); print('up', flush=True); time.sleep(30)"
    other = subprocess.Popen([sys.executable, "-c", empty], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        ours, plain = (_sockets(pid) for pid in (rig.perception.child.pid, other.pid))
    finally:
        other.kill()
    claim("SOCK_STREAM" not in ours, f"TCP sockets: {ours}")
    claim(ours == plain, f"an empty node has {plain}, ours {ours}")
    return f"{ours.get('SOCK_DGRAM', 0)} UDP sockets, as an empty node has; no TCP"


def _sockets(pid: int) -> dict[str, int]:
    return dict(Counter(connection.type.name for connection in psutil.Process(pid).net_connections(kind="inet")))


def nobody_there(rig: Rig) -> str:
    """nothing to see, nothing to hear: label unknown, at most half a core"""
    rig.feed(camera="blank", microphone="zeros")
    rig.wait(lambda: rig.newest.label == EmotionState.UNKNOWN, 8.0, "the label unknown")
    found = rig.measure(MEASURED_SECONDS)
    claim(found["cpu_cores"] <= 0.5, f"{found['cpu_cores']:.2f} core")
    label, confidence = rig.newest.label, rig.newest.confidence
    claim(label == EmotionState.UNKNOWN, f"label {label}")
    rig.recover()
    return f"unknown at {confidence:.2f}, {found['cpu_cores']:.2f} core"


SHARED: tuple[Row, ...] = (
    camera_unplugged,
    microphone_unplugged,
    microphone_says_nothing,
    both_unplugged,
    nan_sound,
    sample_rate_changes,
    channels_change,
    mp3_read_as_samples,
    odd_sound,
    corrupt_pictures,
    unknown_encoding,
    flood,
    slow_subscriber,
    clock_set_back,
    clock_set_forward,
    clocks_apart,
    hostile_transcript,
    consent_taken_back,
    network,
    nobody_there,
)

__all__ = ["SHARED", "Missed", "Row"]
