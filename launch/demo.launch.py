"""Play a clip through perception and show what it says: player, perception, console. Ends when the clip is over."""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, IncludeLaunchDescription, RegisterEventHandler, TimerAction
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

PERCEPTION = str(Path(__file__).resolve().parent / "perception.launch.py")
LAST_WORDS_SECONDS = 2.5  # for an explanation under way when the clip ends


def generate_launch_description() -> LaunchDescription:
    player = Node(package="emollama", executable="player", output="screen", arguments=["--clip", LaunchConfiguration("clip")])
    console = Node(package="emollama", executable="console", output="screen", arguments=["--plain"])
    leave = TimerAction(period=LAST_WORDS_SECONDS, actions=[EmitEvent(event=Shutdown(reason="the clip is over"))])
    return LaunchDescription(
        [
            DeclareLaunchArgument("clip", description="any video or sound file"),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(PERCEPTION)),
            console,
            player,
            RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[leave])),
        ]
    )
