"""ROS as this shell would start it: rclpy, our messages, optional message packages. Asked in a process of its own, never imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .. import __version__
from .finding import Finding, note, ok, problem
from .machine import Machine, ProbeError

PROBE = """
import importlib, json, sys
found = {"packages": {}}
def try_to(name, act):
    try:
        found[name] = act()
    except BaseException as error:
        found[name + "_error"] = f"{type(error).__name__}: {error}".splitlines()[0]
def rmw():
    from rclpy.utilities import get_rmw_implementation_identifier
    return get_rmw_implementation_identifier()
def kilted():
    from rclpy.context import Context
    return hasattr(Context, "track_node")
def arrays():
    from rclpy.serialization import deserialize_message, serialize_message
    from sensor_msgs.msg import CameraInfo
    return len(deserialize_message(serialize_message(CameraInfo()), CameraInfo).k)
try_to("rclpy", lambda: importlib.import_module("rclpy").__file__)
try_to("rmw", rmw)
try_to("kilted", kilted)
try_to("arrays", arrays)
def names(package):
    return sorted(n for n in dir(importlib.import_module(package + ".msg")) if n[0].isupper())
try_to("messages", lambda: names("emollama"))
for name in sys.argv[1:]:
    try:
        found["packages"][name] = names(name)
    except ImportError:
        pass
print(json.dumps(found))
"""
SOURCE_IT = "source /opt/ros/*/setup.bash, or on a machine without ROS: make setup"
BUILD_THEM = "make setup, or in a workspace: colcon build --packages-select emollama && source install/setup.bash"
OPTIONAL = {
    "audio_common_msgs": "sound of audio_common (either kind) cannot be read",
    "foxglove_msgs": "sound as foxglove_msgs/RawAudio cannot be read",
    "hri_msgs": "no /humans/faces/<id>/expression, and transcripts only as std_msgs/String",
}


def examine(machine: Machine, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """The distribution first; `facts` are the probe's."""
    if "rclpy" not in facts:
        said = facts.get("rclpy_error", "no answer")
        if "No module named 'rclpy'" in said:
            yield note("rclpy", "is not there: `emollama analyze` works, the nodes do not", SOURCE_IT)
        else:
            yield problem("rclpy", f"cannot be loaded ({said})", SOURCE_IT)
        return
    yield ok("rclpy", f"{distribution(machine, facts)}, {facts['rclpy']}")
    yield _rmw(facts)
    yield _arrays(facts)
    yield messages(machine, facts)
    for name, lacking in OPTIONAL.items():
        yield _optional(machine, facts, name, lacking)


def probe(machine: Machine) -> Mapping[str, Any]:
    """What a Python of this shell can import. An answer in any case."""
    try:
        facts: Mapping[str, Any] = machine.ask(PROBE, *OPTIONAL)
        return facts
    except ProbeError as error:
        return {"rclpy_error": str(error), "packages": {}}


def distribution(machine: Machine, facts: Mapping[str, Any]) -> str:
    """Its name, from the environment; wheels do not set it."""
    return machine.environ.get("ROS_DISTRO") or ("kilted or later" if facts.get("kilted") else "jazzy or earlier (ROS_DISTRO is not set)")


def _rmw(facts: Mapping[str, Any]) -> Finding:
    if "rmw" not in facts:
        return problem("rmw", f"cannot be loaded ({facts.get('rmw_error')})", "unset RMW_IMPLEMENTATION, or install what it names")
    return ok("rmw", str(facts["rmw"]))


def _arrays(facts: Mapping[str, Any]) -> Finding:
    """ROS's own messages were built against one NumPy and fail with a much newer one, but only those that hold arrays."""
    if "arrays" not in facts:
        return problem("arrays", f"messages that hold arrays cannot be read ({facts.get('arrays_error')})", "pip install 'numpy<2'")
    return ok("arrays", "messages that hold arrays can be read")


def messages(machine: Machine, facts: Mapping[str, Any]) -> Finding:
    """Our own messages: built, and built from the definitions this code was written for."""
    if "messages" not in facts:
        return problem("messages", f"emollama's are not built ({facts.get('messages_error')})", BUILD_THEM)
    share = installed_share(machine)
    if share is None:
        return ok("messages", ", ".join(facts["messages"]))
    built = ElementTree.parse(share / "package.xml").findtext("version") if (share / "package.xml").is_file() else __version__
    if built != __version__:
        return problem("messages", f"are those of version {built}, the code is {__version__}", BUILD_THEM)
    checkout = Path(__file__).resolve().parents[2]
    sources = [path.relative_to(checkout) for kind in ("msg", "action", "srv") for path in sorted((checkout / kind).glob(f"*.{kind}"))]
    old = [path.name for path in sources if not _same(checkout / path, share / path)]
    if old:
        return problem("messages", f"were built from other definitions of {', '.join(old)}", BUILD_THEM)
    return ok("messages", f"{', '.join(facts['messages'])}, version {built}")


def _same(source: Path, installed: Path) -> bool:
    return installed.is_file() and source.read_text(encoding="utf-8").split() == installed.read_text(encoding="utf-8").split()


def installed_share(machine: Machine) -> Path | None:
    """share/emollama of the first prefix that has it."""
    prefixes = filter(None, machine.environ.get("AMENT_PREFIX_PATH", "").split(":"))
    return next((share for share in (Path(prefix) / "share" / "emollama" for prefix in prefixes) if share.is_dir()), None)


def _optional(machine: Machine, facts: Mapping[str, Any], name: str, lacking: str) -> Finding:
    if name not in facts["packages"]:
        distro = machine.environ.get("ROS_DISTRO")
        apt = f"sudo apt install ros-{distro}-{name.replace('_', '-')}" if distro else f"build {name} in your workspace and source it"
        return note(name, f"is not there: {lacking}", f"if you want it: {apt}")
    if name != "audio_common_msgs":
        return ok(name, "found")
    kind = "mgonzs13's" if "AudioStamped" in facts["packages"][name] else "ros-drivers'"
    return ok(name, f"found, {kind}")
