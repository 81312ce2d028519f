"""emollama: what a robot's camera and microphone say of the person in front of it."""

__version__ = "0.1.0"
