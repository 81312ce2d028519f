"""Microphone and camera: what there is, and whether the one who asks may use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .finding import Finding, note, ok, problem
from .machine import Machine, ProbeError

SOUND_PROBE = """
import json
try:
    import sounddevice
except ImportError:
    print(json.dumps({"lacks": "sounddevice"}))
except OSError as error:
    print(json.dumps({"lacks": "portaudio", "error": str(error)}))
else:
    try:
        listed = [d for d in sounddevice.query_devices() if d["max_input_channels"] > 0]
    except Exception as error:
        print(json.dumps({"lacks": "devices", "error": str(error)}))
    else:
        print(json.dumps({"inputs": [[d["name"], d["max_input_channels"], d["default_samplerate"]] for d in listed]}))
"""
MICROPHONE_ONLY = "only the node `microphone` needs it"


def examine(machine: Machine) -> Iterator[Finding]:
    yield sound_nodes(machine)
    yield microphones(machine)
    yield cameras(machine)


def sound_nodes(machine: Machine) -> Finding:
    """The kernel's sound devices."""
    nodes = machine.glob("/dev/snd/pcm*c")
    if not nodes:
        cure = "plug one in and see: arecord -l; for a container: docker run --device /dev/snd"
        return note("sound card", "no device that records in /dev/snd", cure)
    if not any(machine.may_use(node) for node in nodes):
        return problem("sound card", f"{nodes[0]} may not be opened", "sudo usermod -aG audio $USER, then log in again")
    names = ", ".join(node.name for node in nodes)
    return ok("sound card", names)


def microphones(machine: Machine) -> Finding:
    """What PortAudio lists, with rates."""
    try:
        said: dict[str, Any] = machine.ask(SOUND_PROBE)
    except ProbeError as error:
        return note("microphone", f"sounddevice cannot be asked ({error})", "pip install --force-reinstall sounddevice")
    lacks = said.get("lacks")
    if lacks == "sounddevice":
        return note("microphone", f"sounddevice is not installed; {MICROPHONE_ONLY}", "pip install sounddevice")
    if lacks == "portaudio":
        return note("microphone", f"PortAudio is not installed ({said['error']}); {MICROPHONE_ONLY}", "sudo apt install libportaudio2")
    inputs = said.get("inputs", [])
    if not inputs:
        return note("microphone", f"PortAudio lists no input; {MICROPHONE_ONLY}", "plug one in and see: python -m sounddevice")
    return ok("microphone", "; ".join(f"{name}: {channels} channels at {rate:.0f} Hz" for name, channels, rate in inputs))


def cameras(machine: Machine) -> Finding:
    """/dev/video*; a camera has several, the one that gives pictures has index 0."""
    nodes = [node for node in machine.glob("/dev/video*") if _index(machine, node.name) in ("", "0")]
    if not nodes:
        return note(
            "camera", "no /dev/video*", "plug one in and see: v4l2-ctl --list-devices; for a container: docker run --device /dev/video0"
        )
    closed = [node for node in nodes if not machine.may_use(node)]
    if closed:
        return problem("camera", f"{', '.join(map(str, closed))} may not be opened", "sudo usermod -aG video $USER, then log in again")
    return ok("camera", ", ".join(f"{node.name} {machine.text(f'/sys/class/video4linux/{node.name}/name')}".strip() for node in nodes))


def _index(machine: Machine, name: str) -> str:
    return machine.text(f"/sys/class/video4linux/{name}/index")
