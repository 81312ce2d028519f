"""How pictures travel between processes: Fast DDS's profile, shared memory and what dead nodes left in it, domain, range, security."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..share import share_file
from .finding import PROBLEM, Finding, note, ok, problem
from .machine import Machine, ProbeError

PICTURE_BYTES = 640 * 480 * 3
SHM_BYTES = 128 << 20
MOST_DOMAINS = 232
SECURED_PROBE = """
import json, rclpy
rclpy.init(args=["--ros-args", "--enclave", "/emollama/perception"])
rclpy.create_node("perception")
print(json.dumps("made"))
"""


def examine(machine: Machine, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """`facts` is what ros.probe found."""
    if "fastrtps" in str(facts.get("rmw", "")):
        yield profile(machine, bool(facts.get("kilted")))
        yield shared_memory(machine)
        yield stale_segments(machine)
    yield domain(machine)
    yield discovery(machine)
    asked = security(machine)
    yield asked
    if _is_secured(machine) and asked.grade != PROBLEM:
        yield secured(machine)


def profile(machine: Machine, kilted: bool) -> Finding:
    """Whoever publishes pictures needs a segment larger than one."""
    variable = "FASTDDS_DEFAULT_PROFILES_FILE" if kilted else "FASTRTPS_DEFAULT_PROFILES_FILE"
    cure = f"for your camera's node: export {variable}={_ours()}"
    given = machine.environ.get(variable)
    if not given:
        return note("dds profile", "none is set: of best-effort pictures larger than 512 KiB almost none arrive", cure)
    try:
        text = Path(given).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return problem("dds profile", f"{variable} names a file that cannot be read ({error})", cure)
    sizes = [int(size) for size in re.findall(r"<segment_size>\s*(\d+)\s*</segment_size>", text)]
    if not sizes or max(sizes) < 2 * PICTURE_BYTES:
        return note("dds profile", f"{given} gives shared memory less than two pictures of 640 x 480", cure)
    return ok("dds profile", f"{given}, {max(sizes) >> 20} MiB of shared memory a process")


def _ours() -> str:
    try:
        return str(share_file("config/fastdds.xml"))
    except FileNotFoundError:
        return "…/share/emollama/config/fastdds.xml"


def shared_memory(machine: Machine) -> Finding:
    path = machine.path("/dev/shm")
    try:
        facts = os.statvfs(path)
    except OSError as error:
        return problem(
            "/dev/shm", f"is not there ({error}): pictures go over the network stack", "sudo mount -t tmpfs -o size=256M shm /dev/shm"
        )
    return judge_shared_memory(facts.f_blocks * facts.f_frsize, facts.f_bavail * facts.f_frsize)


def judge_shared_memory(total: int, free: int) -> Finding:
    text = f"{total >> 20} MiB, {free >> 20} MiB of it free"
    if free < SHM_BYTES:
        return note(
            "/dev/shm",
            f"{text}: little for pictures",
            "sudo mount -o remount,size=256M /dev/shm; for a container: docker run --shm-size=256m",
        )
    return ok("/dev/shm", text)


def stale_segments(machine: Machine) -> Finding:
    """Fast DDS holds a lock beside each segment for as long as it lives; a segment with a free lock has lost its owner."""
    locks = machine.glob("/dev/shm/fast*_el")
    stale = [path for path in locks if _is_free(path)]
    if not stale:
        return ok("segments", f"{len(locks)} of Fast DDS, all in use")
    size = sum(_size(path.with_name(path.name.removesuffix("_el"))) for path in stale)
    return note("segments", f"{len(stale)} of Fast DDS ({size >> 20} MiB) were left by processes that were killed", "fastdds shm clean")


def _is_free(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
    except OSError:  # held, or another user's
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def domain(machine: Machine) -> Finding:
    given = machine.environ.get("ROS_DOMAIN_ID", "")
    if not given:
        return ok("domain", "0, the default")
    if not given.isdecimal() or int(given) > MOST_DOMAINS:
        return problem("domain", f"ROS_DOMAIN_ID={given!r} is no number from 0 to {MOST_DOMAINS}", "export ROS_DOMAIN_ID=0")
    return ok("domain", given)


def discovery(machine: Machine) -> Finding:
    """Who may see the camera's topics. Jazzy and later have ranges, Humble a switch."""
    reach = machine.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper()
    if reach in ("LOCALHOST", "OFF") or machine.environ.get("ROS_LOCALHOST_ONLY") == "1":
        return ok("discovery", "this machine only" if reach != "OFF" else "off: only peers that are named")
    cure = "if all runs on the robot: export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST (Humble: ROS_LOCALHOST_ONLY=1)"
    if reach not in ("", "SUBNET", "SYSTEM_DEFAULT"):
        return problem("discovery", f"ROS_AUTOMATIC_DISCOVERY_RANGE={reach} is none of LOCALHOST, SUBNET, OFF, SYSTEM_DEFAULT", cure)
    return note("discovery", "every machine of the local network may read camera, microphone and labels", cure)


def security(machine: Machine) -> Finding:
    """SROS2 as the environment asks for it."""
    if not _is_secured(machine):
        return note(
            "security", "SROS2 is off: topics are neither signed nor encrypted", "where that matters: SECURITY.md says how to turn it on"
        )
    store = Path(machine.environ.get("ROS_SECURITY_KEYSTORE", ""))
    enclave = store / "enclaves" / "emollama" / "perception"
    if not machine.environ.get("ROS_SECURITY_KEYSTORE") or not enclave.is_dir():
        cure = "ros2 security generate_artifacts -k $ROS_SECURITY_KEYSTORE -p config/sros2/emollama.policy.xml"
        return problem("security", f"SROS2 is on, and {enclave} is not there", cure)
    enforced = machine.environ.get("ROS_SECURITY_STRATEGY") == "Enforce"
    if not enforced:
        return note("security", "SROS2 is on but permissive: a node without keys runs unprotected", "export ROS_SECURITY_STRATEGY=Enforce")
    return ok("security", f"SROS2 enforced, {store}")


def _is_secured(machine: Machine) -> bool:
    return machine.environ.get("ROS_SECURITY_ENABLE", "").lower() == "true"


def secured(machine: Machine) -> Finding:
    """A node is made with these keys; middleware may have been built without security, as that of the wheels is."""
    try:
        machine.ask(SECURED_PROBE)
    except ProbeError as error:
        cure = "make the keys again (SECURITY.md); where Fast DDS has no security libraries, use ROS from its own packages"
        return problem("secured node", f"cannot be made ({error})", cure)
    return ok("secured node", "can be made with these keys")
