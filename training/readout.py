"""What the encoders' tokens themselves tell of each measure: the ranks that explanations are trained on.

A text that names what was measured but cannot be told from the tokens teaches the language model to guess. So each measure's rank is read
from the tokens by ridge regression over the train bank, and texts are made of what was read: where tokens say little the prediction stays
near the median, and nothing is named. Whether a text is true is still judged by what was measured (`check`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .bank import FaceBank, VoiceBank
from .cues import VIEW_NORMS
from .face_measures import FACE_MEASURES
from .measures import Norm, Norms
from .voice_measures import VOICE_MEASURES

Array = npt.NDArray[np.float32]
RIDGE = 10.0
MOST_ROWS = 12000  # more change nothing


@dataclass(frozen=True)
class Readout:
    """Ridge regressions of M ranks over F features."""

    mean: Array
    spread: Array
    weights: npt.NDArray[np.float64]

    @staticmethod
    def fit(features: Array, ranks: Array) -> Readout:
        """features (N, F); ranks (N, M), NaN where nothing was measured."""
        mean, spread = features.mean(0), features.std(0) + np.float32(1e-6)
        rows = _with_constant((features - mean) / spread)
        weights = np.zeros((rows.shape[1], ranks.shape[1]))
        for column in range(ranks.shape[1]):
            known = np.flatnonzero(np.isfinite(ranks[:, column]))
            known = known[:: max(1, known.size // MOST_ROWS)]
            if known.size:
                a = rows[known]
                weights[:, column] = np.linalg.solve(a.T @ a + RIDGE * np.eye(a.shape[1]), a.T @ ranks[known, column])
        return Readout(mean, spread, weights)

    def __call__(self, features: Array) -> Array:
        """(N, M) in [-1, 1]."""
        told = _with_constant((features - self.mean) / self.spread) @ self.weights
        return np.clip(told, -1, 1).astype(np.float32)


def _with_constant(features: Array) -> npt.NDArray[np.float64]:
    return np.column_stack([features, np.ones(len(features))]).astype(np.float64)


def face_features(bank: FaceBank) -> Array:
    """(N, 4·D): a face's four tokens, the mean of its looks."""
    return np.asarray(bank.tokens.astype(np.float32).mean(1).reshape(len(bank.tokens), -1))


def voice_features(bank: VoiceBank) -> Array:
    """(N, 2·D): mean and deviation of the tokens while there was a microphone."""
    width = bank.tokens.shape[-1]
    features = np.zeros((len(bank.tokens), 2 * width), np.float32)
    for row, (tokens, mask) in enumerate(zip(bank.tokens, bank.mask, strict=True)):
        heard = tokens[mask > 0].astype(np.float32)
        features[row] = np.concatenate([heard.mean(0), heard.std(0)]) if len(heard) else 0
    return features


def measured_ranks(norms: Mapping[str, Norm], names: Sequence[str], measures: Array) -> Array:
    """(N, M) measures → ranks, NaN where nothing was measured; what VIEW_NORMS knows is ranked by them."""
    return np.stack([VIEW_NORMS.get(name, norms[name]).ranks(measures[:, i]) for i, name in enumerate(names)], axis=1)


def told_ranks(train: tuple[FaceBank, VoiceBank], held: tuple[FaceBank, VoiceBank], norms: Norms) -> list[tuple[Array, Array]]:
    """For train and for held banks: (N, M) ranks of faces and of voices as their tokens tell them, NaN where nothing was measured."""
    told: list[list[Array]] = [[], []]
    for kind, names, features_of in ((0, FACE_MEASURES, face_features), (1, VOICE_MEASURES, voice_features)):
        ranks = measured_ranks(norms, names, train[kind].measures)
        features = features_of(train[kind])  # type: ignore[operator]
        readout = Readout.fit(features, ranks)
        told[0].append(np.where(np.isfinite(ranks), readout(features), np.nan).astype(np.float32))
        known = np.isfinite(measured_ranks(norms, names, held[kind].measures))
        told[1].append(np.where(known, readout(features_of(held[kind])), np.nan).astype(np.float32))  # type: ignore[operator]
    return [(faces, voices) for faces, voices in told]
