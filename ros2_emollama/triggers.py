"""When is a label a new label, and when is it time to explain? Pure: looks at states and their stamps only.

state ─► LabelTracker ─► the label that holds (hysteresis, dwell) ─► ExplanationTriggers ─► "change", "period" or None
"""

from __future__ import annotations

from .config import LabelsConfig, ReasonerConfig
from .types import EmotionState, seconds_to_ns


class LabelTracker:
    """Holds a label until another one leads by `margin` for `dwell_seconds`."""

    def __init__(self, config: LabelsConfig) -> None:
        self._config = config
        self._held: str | None = None
        self._challenger: str | None = None
        self._since_ns = 0

    def update(self, state: EmotionState) -> str:
        """The label that holds after this state."""
        if self._held is None or self._held not in state.labels:
            self._held = state.label
        lead = state.confidence - state.probabilities[state.labels.index(self._held)]
        if state.label == self._held or lead < self._config.margin:
            self._challenger = None
        else:
            self._challenge(state)
        return self._held

    def _challenge(self, state: EmotionState) -> None:
        if self._challenger != state.label:
            self._challenger, self._since_ns = state.label, state.end_ns
        if state.end_ns - self._since_ns >= seconds_to_ns(self._config.dwell_seconds):
            self._held, self._challenger = state.label, None

    def reset(self) -> None:
        """Forget: the clock jumped or the input changed."""
        self._held = self._challenger = None


class ExplanationTriggers:
    """Decides, state by state, whether an explanation is due."""

    def __init__(self, labels: LabelsConfig, reasoner: ReasonerConfig) -> None:
        self._tracker = LabelTracker(labels)
        self._config = reasoner
        self._explained: str | None = None
        self._explained_ns: int | None = None

    def update(self, state: EmotionState) -> str | None:
        """"change" or "period" when this state makes an explanation due, else None. A due one counts as given."""
        held = self._tracker.update(state)
        cause = self._cause(held, state.end_ns)
        if cause is None or not self._config.enabled:
            return None
        self._explained, self._explained_ns = held, state.end_ns
        return cause

    def _cause(self, held: str, now_ns: int) -> str | None:
        if self._config.on_change and held != self._explained:
            return "change"
        period_ns = seconds_to_ns(self._config.period_seconds)
        if period_ns and (self._explained_ns is None or now_ns - self._explained_ns >= period_ns):
            return "period"
        return None

    def reset(self) -> None:
        """Forget everything: the clock jumped."""
        self._tracker.reset()
        self._explained = self._explained_ns = None
