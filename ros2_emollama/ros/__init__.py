"""The ROS 2 front: nodes, messages and parameters. The only room that imports rclpy."""
