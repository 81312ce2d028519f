"""Run one node until it is told to stop, and leave without a trace or a traceback."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import get_default_context

from ..options import ConfigError, Tree, fields
from .compat import RclError, leave_nodes_to_their_makers
from .memory import give_back_now_and_then

NAME_WIDTH = 28


class Refused(Exception):
    """The node cannot start; the text says why and what to do."""


def asked_for_help(argv: Sequence[str] | None, contract: str | None, tree: type[Tree]) -> bool:
    """Answer -h and --help: what the node is, and its parameters. True when it was asked."""
    if not {"-h", "--help"} & set(argv if argv is not None else sys.argv[1:]):
        return False
    lines = [contract or "", "Parameters (--ros-args -p NAME:=VALUE, or --ros-args --params-file FILE):"]
    lines += [f"  {entry.name:<{NAME_WIDTH}}{entry.description}, default {entry.default!r}" for entry in fields(tree)]
    print("\n".join(lines))
    return True


def run(make_node: Callable[[], Node], argv: Sequence[str] | None, finish: Callable[[Node], int] = lambda node: 0) -> int:
    """Make the node, spin it, return its exit status: `finish(node)`, or 2 where it could not start.

    One thread serves all callbacks: a multi-threaded executor doubles what a picture costs.
    """
    try:
        rclpy.init(args=None if argv is None else [sys.argv[0], *argv])
    except RclError as error:
        return _refused(error)
    leave_nodes_to_their_makers(get_default_context())
    node: Node | None = None
    status, ended = 0, threading.Event()
    give_back_now_and_then(ended)
    try:
        executor = SingleThreadedExecutor()  # first: half made when an interrupt comes, it would leave a traceback
        node = make_node()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass  # the usual ends of a node
    except (ConfigError, Refused) as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except Exception as error:
        if rclpy.ok():
            if node is not None or not isinstance(error, RclError):
                raise
            status = _refused(error)
        # Else an interrupt ended ROS between two of its own steps, and the second one said so in its own words: an end like the usual ones.
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # launch sends a second one while we leave
        ended.set()
        if node is not None:
            status = status or finish(node)
            node.destroy_node()
        rclpy.try_shutdown()
    return status


def _refused(error: Exception) -> int:
    reason = " ".join(str(error).split()).partition(", at /")[0]
    print(f"error: ROS cannot start the node: {reason}; see: emollama doctor", file=sys.stderr)
    return 2
