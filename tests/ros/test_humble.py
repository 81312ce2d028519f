"""Humble has no wheels, so it cannot be run here: what it lacks is written down, and nothing of ours may use it.

The table was read off rclpy's branch `humble` (3.3.15) beside `jazzy` and `rolling`, in November 2026; on that day every other name and
keyword of rclpy that the package, its launch files and its tests use was there. Humble's Python is 3.10.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

COMPAT = REPOSITORY / "ros2_emollama" / "ros" / "compat.py"
SOURCES = sorted([*(REPOSITORY / "ros2_emollama").rglob("*.py"), *(REPOSITORY / "launch").glob("*.py")])

LATER_MODULES = {
    "rclpy.clock_type", "rclpy.event_handler", "rclpy.experimental", "rclpy.logging_service", "rclpy.parameter_client",
    "rclpy.parameter_event_handler", "rclpy.service_introspection", "rclpy.subscription_content_filter_options",
    "rclpy.type_description_service", "rclpy.type_hash", "tomllib", "asyncio.taskgroups", "typing_extensions",
}  # fmt: skip
LATER_NAMES = {
    "rclpy.executors": {"EventsExecutor"},
    "rclpy.logging": {"get_logger_level"},
    "rclpy.parameter": {"get_parameter_value", "parameter_dict_from_yaml_file"},
    "rclpy.qos": {"qos_profile_best_available", "qos_profile_default"},
    "rclpy.subscription": {"MessageInfo"},
    "rclpy.timer": {"TimerInfo"},
    "datetime": {"UTC"},
    "enum": {"StrEnum", "ReprEnum", "verify"},
    "typing": {"Self", "assert_never", "assert_type", "LiteralString", "Never", "NotRequired", "Required", "Unpack", "override"},
    "itertools": {"batched"},
}
LATER_METHODS = {
    "add_post_set_parameters_callback", "add_pre_set_parameters_callback", "configure_introspection", "count_clients", "count_services",
    "get_fully_qualified_node_names", "track_node", "untrack_node", "wait_for_node",
}  # fmt: skip
LATER_KEYWORDS = {
    "create_timer": {"autostart"},
    "create_node": {"enable_logger_service"},
    "create_subscription": {"content_filter_options"},
    "call": {"timeout_sec"},
    "PublisherEventCallbacks": {"incompatible_type", "matched"},
    "SubscriptionEventCallbacks": {"incompatible_type", "matched"},
    "__init__": {"enable_logger_service"},
    "try_shutdown": {"uninstall_handlers"},
    "shutdown": {"wait_for_threads"},
}


def findings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of all that Humble or Python 3.10 lacks."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if _is_later(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if _is_later(node.module) or _is_later(full) or alias.name in LATER_NAMES.get(node.module, ()):
                    yield node.lineno, full
        elif isinstance(node, ast.Attribute) and node.attr in LATER_METHODS:
            yield node.lineno, node.attr
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            later = LATER_KEYWORDS.get(name, set())
            yield from ((node.lineno, f"{name}({keyword.arg}=)") for keyword in node.keywords if keyword.arg in later)
        elif isinstance(node, ast.With):
            entered = [ast.unparse(item.context_expr) for item in node.items]
            yield from ((node.lineno, "with rclpy.init()") for text in entered if text.startswith("rclpy.init("))


def _is_later(module: str) -> bool:
    return any(module == later or module.startswith(f"{later}.") for later in LATER_MODULES)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_nothing_uses_what_humble_lacks(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
    found = [] if path == COMPAT else [f"{path.name}:{line} {name}" for line, name in findings(tree)]
    assert not found, f"Humble has no {', '.join(found)}; take another way, or put both ways into ros/compat.py"


def test_the_one_place_that_knows_distributions_does_use_it() -> None:
    found = {name for _, name in findings(ast.parse(COMPAT.read_text(encoding="utf-8")))}
    assert found >= {"rclpy.event_handler.SubscriptionEventCallbacks", "track_node"}


@pytest.mark.parametrize(
    "line",
    [
        "from rclpy.event_handler import SubscriptionEventCallbacks",
        "import rclpy.experimental.events_executor",
        "from rclpy import parameter_client",
        "from enum import StrEnum",
        "with rclpy.init(args=None): pass",
        "self.create_timer(1.0, f, autostart=False)",
        "node.add_post_set_parameters_callback(f)",
        "super().__init__('n', enable_logger_service=True)",
    ],
)
def test_each_kind_of_thing_it_lacks_is_seen(line: str) -> None:
    assert len(list(findings(ast.parse(line)))) == 1
