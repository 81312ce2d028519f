"""docs/DEPLOY.md says what the memory plan says, and the container installs what the package needs."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import boards
from ros2_emollama.model.presets import EMOTION_LLAMA_V2, NANO
from tests.platform.test_dependencies import bounds

ROOT = Path(__file__).resolve().parents[2]


def test_the_tables_are_those_of_the_memory_plan() -> None:
    text = boards.DOCUMENT.read_text(encoding="utf-8")
    assert boards.written(text) == text, "write them anew: python -m benchmarks.boards --write"
    assert text.count("| Jetson AGX Orin, 64 GB |") == 2


def test_a_larger_board_never_fits_less_and_rates_follow_the_memory() -> None:
    jetsons = [board for board in boards.BOARDS if board.gpu and not board.card]
    ranks = {"fits": 3, "fits with blocks of 128": 2, "fits with `reasoner.mode: remote`": 1}
    fitting = [ranks.get(boards.verdict(board, EMOTION_LLAMA_V2), 0) for board in sorted(jetsons, key=lambda board: board.memory_gb)]
    assert fitting == sorted(fitting) and fitting[0] == 0 and fitting[-1] == 3
    assert all(boards.verdict(board, NANO) == "fits" for board in boards.BOARDS)
    assert 3.5e9 < boards.token_bytes(EMOTION_LLAMA_V2, gpu=True) < boards.token_bytes(EMOTION_LLAMA_V2, gpu=False) < 5e9


def test_a_hop_of_v2_costs_its_weights_times_its_positions() -> None:
    products = 2 * (984701952 * (1025 + 257) + 25251584 * 257 + 637064960 * 1500)
    assert products < boards.hop_operations(EMOTION_LLAMA_V2) < 1.25 * products


def test_the_container_installs_every_dependency_within_its_bounds() -> None:
    text = (ROOT / "docker" / "Dockerfile.l4t").read_text(encoding="utf-8")
    installed = dict(re.findall(r"""["']([\w.-]+)>=([\d.]+)""", text))
    for name, oldest in bounds("dependencies").items():
        assert installed.get(name) == oldest, name
    for path in re.findall(r"docker/[\w.]+", (ROOT / "docs" / "DEPLOY.md").read_text(encoding="utf-8")):
        assert (ROOT / path).is_file()
