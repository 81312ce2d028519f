"""`make demo`: a clip through the real ROS graph. Player, perception and console, three processes, started here without launch.

Ends by itself when the clip is over and what is being explained has been said. Exit status 0 when all ended well and states were seen.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..media import MediaError, read_clip
from .player_node import parser as player_parser

DEMO_CLIP = Path(".demo/clip.mp4")
LAST_WORDS_SECONDS = 2.5  # for an explanation under way when the clip ends
LEAVE_SECONDS = 10.0


class Processes:
    """Named children; whatever happens, none is left behind."""

    def __init__(self) -> None:
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            if child.poll() is None:
                child.kill()
                child.wait()

    def start(self, name: str, *arguments: str, quiet: bool = False) -> None:
        """Run one of our nodes in a process of its own, in its own group: a Ctrl-C reaches it through us, once."""
        command = [sys.executable, "-m", f"ros2_emollama.ros.{name}_node", *arguments]
        self._children[name] = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL if quiet else None)

    def running(self, name: str) -> bool:
        return self._children[name].poll() is None

    def end(self, name: str) -> int:
        """Ask it to stop, as Ctrl-C does; its exit status."""
        child = self._children[name]
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
        try:
            return child.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"error: {name} did not leave within {LEAVE_SECONDS:.0f} s", file=sys.stderr)
            return 1


def play(clip: Path, player_arguments: Sequence[str], perception_arguments: Sequence[str]) -> int:
    """Run the three nodes until the clip is over. 0 when all went well."""
    with Processes() as processes:
        try:
            processes.start("console")
            processes.start("perception", *perception_arguments)
            # Not before the console has found perception, or it would miss the first states.
            processes.start("player", "--clip", str(clip), "--wait-topic", "emotion/state", *player_arguments)
            while processes.running("player") and processes.running("perception"):
                time.sleep(0.1)
            time.sleep(LAST_WORDS_SECONDS if processes.running("perception") else 0.0)
        except KeyboardInterrupt:
            print("stopping", file=sys.stderr)
        results = {name: processes.end(name) for name in ("player", "perception", "console")}
    failed = {name: status for name, status in results.items() if status}
    for name, status in failed.items():
        print(f"error: {name} ended with status {status}", file=sys.stderr)
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(
        prog="python -m ros2_emollama.ros.demo",
        description="Play a clip through player, perception and console. The player's options are passed on; after -- perception's.",
    )
    options.add_argument("--clip", type=Path, default=DEMO_CLIP, help=f"any video or sound file, default {DEMO_CLIP}")
    given, rest = options.parse_known_args(list(argv if argv is not None else sys.argv[1:]))
    cut = rest.index("--") if "--" in rest else len(rest)
    player_arguments, perception_arguments = rest[:cut], rest[cut + 1 :]
    player_parser().parse_args(["--clip", str(given.clip), *player_arguments])  # a mistake is better said now than by a child
    try:
        read_clip(given.clip)
    except MediaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")  # a demo is nobody else's business
    if os.environ.get("ROS_DISTRO") == "humble":  # which does not know the range yet
        os.environ.setdefault("ROS_LOCALHOST_ONLY", "1")
    return play(given.clip, player_arguments, perception_arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
