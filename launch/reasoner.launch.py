"""Start the reasoner node: the language model for perception nodes whose reasoner.mode is "remote"."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

PARAMETERS = str(Path(__file__).resolve().parents[1] / "config" / "reasoner.yaml")
RESPAWN_DELAY_SECONDS = 1.0
ARGUMENTS = (
    ("params_file", PARAMETERS, "parameters of the node; section /**/reasoner"),
    ("namespace", "", "namespace, the same as that of the perception node"),
    ("respawn", "true", "start the node again when it ended"),
)


def generate_launch_description() -> LaunchDescription:
    given = {name: LaunchConfiguration(name) for name, _, _ in ARGUMENTS}
    reasoner = Node(
        package="emollama",
        executable="reasoner",
        name="reasoner",
        namespace=given["namespace"],
        output="screen",
        respawn=given["respawn"],
        respawn_delay=RESPAWN_DELAY_SECONDS,
        parameters=[given["params_file"]],
    )
    return LaunchDescription([*(DeclareLaunchArgument(n, default_value=d, description=t) for n, d, t in ARGUMENTS), reasoner])
