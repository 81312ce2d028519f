"""Start the perception node. It brings itself to active unless autostart:=false, when a lifecycle manager may.

With camera:=true and microphone:=true the nodes that feed it are started too.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

PARAMETERS = str(Path(__file__).resolve().parents[1] / "config" / "perception.yaml")
RESPAWN_DELAY_SECONDS = 1.0
ARGUMENTS = (
    ("params_file", PARAMETERS, "parameters of the nodes; sections /**/perception, /**/camera, /**/microphone"),
    ("namespace", "", "namespace of the nodes and their topics"),
    ("image_topic", "image_raw", "camera topic, sensor_msgs/Image"),
    ("audio_topic", "audio", "microphone topic, emollama/AudioChunk"),
    ("use_sim_time", "false", "take time from /clock, as a bag plays it"),
    ("autostart", "true", "configure and activate at start"),
    ("respawn", "true", "start a node again that ended"),
    ("camera", "false", "start the camera node"),
    ("camera_device", "0", "index or path of a camera, a video file, or a URL; a params file's own goes before it"),
    ("microphone", "false", "start the microphone node"),
    ("microphone_device", "", "index or part of the name of an input device; a params file's own goes before it"),
)


def generate_launch_description() -> LaunchDescription:
    given = {name: LaunchConfiguration(name) for name, _, _ in ARGUMENTS}
    common = {
        "package": "emollama",
        "namespace": given["namespace"],
        "output": "screen",
        "respawn": given["respawn"],
        "respawn_delay": RESPAWN_DELAY_SECONDS,
    }
    perception = LifecycleNode(
        **common,
        executable="perception",
        name="perception",
        parameters=[given["params_file"], {name: ParameterValue(given[name], value_type=bool) for name in ("use_sim_time", "autostart")}],
        remappings=[
            ("image_raw", given["image_topic"]),
            ("image_raw/compressed", [given["image_topic"], "/compressed"]),
            ("audio", given["audio_topic"]),
        ],
    )
    sources = [
        Node(
            **common,
            executable=name,
            name=name,
            condition=IfCondition(given[name]),
            # A text whatever it looks like: the index of a device is one.
            parameters=[{"device": ParameterValue(given[f"{name}_device"], value_type=str)}, given["params_file"]],
            remappings=[(topic, given[argument])],
        )
        for name, topic, argument in (("camera", "image_raw", "image_topic"), ("microphone", "audio", "audio_topic"))
    ]
    return LaunchDescription([*(DeclareLaunchArgument(n, default_value=d, description=t) for n, d, t in ARGUMENTS), perception, *sources])
