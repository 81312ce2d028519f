"""A node's configuration tree as ROS parameters: declared with help, range and mark, read back as a tree.

Everything a parameter is stands in config.py; this file only translates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from ..options import ROS_OWN_PARAMETERS, ConfigError, ConfigField, T, fields, flatten, from_flat

TYPES = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}


def descriptor(entry: ConfigField) -> ParameterDescriptor:
    """What `ros2 param describe` shows."""
    described = ParameterDescriptor(
        name=entry.name,
        type=TYPES[entry.type].value,
        description=entry.help + (f" ({entry.unit})" if entry.unit else ""),
        additional_constraints=f"one of: {', '.join(entry.choices)}" if entry.choices else "",
        read_only=not entry.live,
    )
    if entry.minimum is not None and entry.maximum is not None:
        if entry.type is int:
            described.integer_range = [IntegerRange(from_value=int(entry.minimum), to_value=int(entry.maximum), step=0)]
        elif entry.type is float:
            described.floating_point_range = [FloatingPointRange(from_value=float(entry.minimum), to_value=float(entry.maximum), step=0.0)]
    return described


def declare(node: Node, defaults: T) -> T:
    """`defaults` with what the command line and the params file gave; checked, and every parameter declared.

    The node must have been made with automatically_declare_parameters_from_overrides: only so are unknown names seen at all.
    ConfigError for an unknown name ("did you mean") or a bad value.
    """
    given = {name: parameter.value for name, parameter in node.get_parameters_by_prefix("").items()}
    ours = {name: value for name, value in given.items() if name.split(".")[0] not in ROS_OWN_PARAMETERS}
    config = from_flat(ours, defaults)
    for name in ours:
        node.undeclare_parameter(name)
    values = flatten(config)
    for entry in fields(type(config)):
        node.declare_parameter(entry.name, values[entry.name], descriptor(entry), ignore_override=True)
    return config


def follow(node: Node, current: Callable[[], T], apply: Callable[[T], None]) -> None:
    """Call `apply` with the new tree whenever a live parameter is set; a value that breaks its rule is refused with the reason."""
    known = {entry.name for entry in fields(type(current()))}

    def on_set(parameters: Sequence[Any]) -> SetParametersResult:
        changed = {parameter.name: parameter.value for parameter in parameters if parameter.name in known}
        if not changed:
            return SetParametersResult(successful=True)
        try:
            apply(from_flat(changed, current()))
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(on_set)
