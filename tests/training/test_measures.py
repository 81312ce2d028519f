"""Measures lie in the order of the rows, ranks follow the norms of training, and measuring goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("parselmouth")
pytest.importorskip("soundfile")
pytest.importorskip("skimage")

from tests.training.measured_people import StandIn, a_cache, norms  # noqa: E402
from training import measures  # noqa: E402
from training.hearing import Heard  # noqa: E402
from training.measures import Norm, Norms  # noqa: E402
from training.paths import Paths  # noqa: E402
from training.voice_measures import VOICE_MEASURES, measure_voice  # noqa: E402
from training.voices import Measured  # noqa: E402


def test_ranks_follow_the_quantiles_and_equal_values_share_one() -> None:
    norm = Norm.of([*range(101), float("nan")])
    assert [norm.rank(value) for value in (-5.0, 50.0, 200.0)] == [-1.0, 0.0, 1.0]
    assert norm.rank(90.0) == pytest.approx(0.8, abs=0.02) and norm.z(50.0) == 0.0 and np.isnan(norm.rank(float("nan")))
    flat = Norm.of([0.0] * 80 + [1.0] * 20)
    assert flat.rank(0.0) == 0.0 and flat.rank(1.0) > 0.7  # at the median, neither side is true
    with pytest.raises(ValueError, match="at least one"):
        Norm.of([float("nan")])


def test_measures_lie_in_the_order_of_the_rows_and_norms_are_those_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_cache(tmp_path)
    monkeypatch.setattr(measures, "Landmarks", StandIn)
    found = measures.prepare_measures(tmp_path)
    table = measures.read_measures(tmp_path, "voices")
    np.testing.assert_allclose(table[:, 0], [120, 240, 360], rtol=0.03)
    assert found["pitch_hz"].median == pytest.approx(240, rel=0.03) and found["pitch_hz"].knots[0] == pytest.approx(table[0, 0])
    np.testing.assert_array_equal(measures.read_measures(tmp_path, "faces")[:, 0], np.load(tmp_path / "faces.npy")[:, 0, 0])
    assert Norms.read(tmp_path) == found


def test_measuring_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_cache(tmp_path)
    monkeypatch.setattr(measures, "SAVE_EVERY", 1)
    asked: list[int] = []

    def measure(samples: np.ndarray) -> np.ndarray:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return measure_voice(samples)

    monkeypatch.setattr(measures, "measure_voice", measure)
    with pytest.raises(KeyboardInterrupt):
        measures.measure_voices(tmp_path)
    table = measures.measure_voices(tmp_path)
    assert len(asked) == 4 and table.shape == (3, len(VOICE_MEASURES)) and np.isfinite(table).all()
    measures.measure_voices(tmp_path)
    assert len(asked) == 4 and not list(tmp_path.glob("*part*"))


def test_measures_are_those_of_the_window_as_it_was_played(tmp_path: Path) -> None:
    norms().write(tmp_path)
    table = np.tile(np.linspace(1, 2, len(VOICE_MEASURES), dtype=np.float32), (2, 1))
    np.save(tmp_path / "voice_measures.npy", table)
    active = torch.stack([(torch.arange(64) < count).float() for count in (16, 8)])
    level, pitch, pace = torch.tensor([-20.0, -30.0]), torch.tensor([1.1, 0.9]), torch.tensor([0.8, 1.2])
    windows = Heard(torch.zeros(2, 1, 1), active, torch.ones(2, 64), level, pitch, pace)
    found = Measured(Paths(tmp_path, tmp_path, tmp_path)).raw(np.array([0, 1]), windows).numpy()
    own = [dict(zip(VOICE_MEASURES, row, strict=True)) for row in found]
    assert own[0]["pitch_hz"] == pytest.approx(1.1 * table[0, 0]) and own[1]["level_dbfs"] == -30.0
    rate = VOICE_MEASURES.index("rate_per_second")
    assert own[0]["rate_per_second"] == pytest.approx(0.8 * table[0, rate])
    assert np.isnan(own[1]["rate_per_second"]) and np.isnan(own[1]["pause_share"])  # half a second is too little
