"""Start the perception node. It brings itself to active unless autostart:=false, when a lifecycle manager may."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue

PARAMETERS = str(Path(__file__).resolve().parents[1] / "config" / "perception.yaml")
ARGUMENTS = (
    ("params_file", PARAMETERS, "parameters of the node"),
    ("namespace", "", "namespace of the node and its topics"),
    ("image_topic", "image_raw", "camera topic, sensor_msgs/Image"),
    ("audio_topic", "audio", "microphone topic, emollama/AudioChunk"),
    ("use_sim_time", "false", "take time from /clock, as a bag plays it"),
    ("autostart", "true", "configure and activate at start"),
)


def generate_launch_description() -> LaunchDescription:
    given = {name: LaunchConfiguration(name) for name, _, _ in ARGUMENTS}
    node = LifecycleNode(
        package="emollama",
        executable="perception",
        name="perception",
        namespace=given["namespace"],
        output="screen",
        parameters=[given["params_file"], {name: ParameterValue(given[name], value_type=bool) for name in ("use_sim_time", "autostart")}],
        remappings=[
            ("image_raw", given["image_topic"]),
            ("image_raw/compressed", [given["image_topic"], "/compressed"]),
            ("audio", given["audio_topic"]),
        ],
    )
    return LaunchDescription([*(DeclareLaunchArgument(n, default_value=d, description=t) for n, d, t in ARGUMENTS), node])
