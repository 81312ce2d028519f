"""A real sound card that is not there: a PulseAudio daemon of one test, with a null sink whose monitor is the microphone.

PortAudio reaches it through ALSA's plug-in for PulseAudio, under the name `virtual_card`. Needs on Debian: pulseaudio pulseaudio-utils
libasound2-plugins libportaudio2.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

RATE_HZ = 16000
NAME = "virtual_card"
INSTALL = "apt install pulseaudio pulseaudio-utils libasound2-plugins libportaudio2"


def missing() -> str:
    """What is not installed; empty where all is there."""
    programs = [name for name in ("pulseaudio", "pactl", "pacat") if shutil.which(name) is None]
    library = [] if ctypes.util.find_library("portaudio") else ["PortAudio"]
    plugin = [] if list(Path("/usr/lib").glob("**/alsa-lib/libasound_module_pcm_pulse.so")) else ["ALSA's plug-in for PulseAudio"]
    return ", ".join(programs + library + plugin)


class VirtualCard:
    """`environment` is what a node needs to find it."""

    def __init__(self) -> None:
        # Not pytest's tmp_path: a socket's path must be short.
        self._folder = tempfile.TemporaryDirectory(prefix="card")
        home = Path(self._folder.name)
        socket = home / "native"
        alsa = home / "asound.conf"
        alsa.write_text(f'pcm.{NAME} {{ type pulse server "unix:{socket}" device "card.monitor" }}\n')
        self.environment = os.environ | {
            "XDG_RUNTIME_DIR": str(home),
            "PULSE_COOKIE": str(home / "cookie"),
            "PULSE_SERVER": f"unix:{socket}",
            "ALSA_CONFIG_PATH": f"/usr/share/alsa/alsa.conf:{alsa}",
        }
        serve = f"module-native-protocol-unix auth-anonymous=1 socket={socket}"
        options = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disallow-exit", "--log-level=error"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        daemon_environment = self.environment | {"DBUS_SESSION_BUS_ADDRESS": "disabled:", "DBUS_SYSTEM_BUS_ADDRESS": "disabled:"}
        self._daemon = subprocess.Popen(["pulseaudio", *options, "-L", serve], env=daemon_environment, **quiet)  # type: ignore[call-overload]
        self._players: list[subprocess.Popen[bytes]] = []
        deadline = time.monotonic() + 10.0
        while not self._control("info"):
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                self.close()
                pytest.skip("pulseaudio does not start on this machine")
            time.sleep(0.05)

    def _control(self, *command: str) -> bool:
        return subprocess.run(["pactl", *command], env=self.environment, capture_output=True).returncode == 0

    def plug(self) -> None:
        assert self._control("load-module", "module-null-sink", "sink_name=card", f"rate={RATE_HZ}", "channels=1", "format=s16le")

    def unplug(self) -> None:
        assert self._control("unload-module", "module-null-sink")

    def play(self, samples: np.ndarray) -> None:
        """(S,) int16 into the card, in real time, while the test goes on."""
        form = ["--raw", "--format=s16le", f"--rate={RATE_HZ}", "--channels=1", "--latency-msec=200", "--device=card"]
        player = subprocess.Popen(["pacat", "--playback", *form], env=self.environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._players.append(player)

        def feed() -> None:
            assert player.stdin is not None
            try:
                player.stdin.write(samples.astype("<i2").tobytes())
                player.stdin.close()
            except BrokenPipeError:  # the test is over, or the card was pulled out
                pass

        threading.Thread(target=feed, daemon=True).start()

    def silence(self) -> None:
        """End what plays."""
        for player in self._players:
            player.kill()
            player.wait()
        self._players.clear()

    def close(self) -> None:
        self.silence()
        self._daemon.kill()
        self._daemon.wait()
        self._folder.cleanup()
