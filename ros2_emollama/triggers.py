"""When does a label hold, and when is it time to explain? Pure: looks at states and their stamps only.

state ─► LabelTracker ─► state with the label that holds (presence, hysteresis, dwell) ─► ExplanationTriggers ─► "change", "period" or None
"""

from __future__ import annotations

from dataclasses import replace

from .config import LabelsConfig, ReasonerConfig
from .types import UNKNOWN, EmotionState, seconds_to_ns


class LabelTracker:
    """Holds a label until another one leads by `margin` for `dwell_seconds`. With nobody to be seen or heard that label is UNKNOWN."""

    def __init__(self, config: LabelsConfig) -> None:
        self.config = config
        self._held: str | None = None
        self._challenger: str | None = None
        self._since_ns = 0

    def update(self, state: EmotionState) -> EmotionState:
        """The same state, with the label that holds after it."""
        claimed = state.likeliest if state.presence >= self.config.presence else UNKNOWN
        if self._held is None or self._held not in (*state.labels, UNKNOWN):
            self._held = claimed
        if claimed == self._held or not self._leads(state, claimed):
            self._challenger = None
        else:
            self._challenge(state, claimed)
        return replace(state, held=self._held)

    def _leads(self, state: EmotionState, claimed: str) -> bool:
        if UNKNOWN in (claimed, self._held):
            return True  # somebody is there or not: presence itself is a mean over time
        held = state.probabilities[state.labels.index(self._held or claimed)]
        return max(state.probabilities) - held >= self.config.margin

    def _challenge(self, state: EmotionState, claimed: str) -> None:
        if self._challenger != claimed:
            self._challenger, self._since_ns = claimed, state.end_ns
        if state.end_ns - self._since_ns >= seconds_to_ns(self.config.dwell_seconds):
            self._held, self._challenger = claimed, None

    def reset(self) -> None:
        """Forget: the clock jumped or the input changed."""
        self._held = self._challenger = None


class ExplanationTriggers:
    """Decides, state by state, whether an explanation is due. Of nobody there is nothing to explain."""

    def __init__(self, config: ReasonerConfig) -> None:
        self.config = config
        self._explained: str | None = None
        self._explained_ns: int | None = None

    def update(self, state: EmotionState) -> str | None:
        """ "change" or "period" when this state makes an explanation due, else None. A due one counts as given."""
        cause = self._cause(state.label, state.end_ns)
        if cause is None or state.label == UNKNOWN or not self.config.enabled:
            return None
        self._explained, self._explained_ns = state.label, state.end_ns
        return cause

    def _cause(self, held: str, now_ns: int) -> str | None:
        if self.config.on_change and held != self._explained:
            return "change"
        period_ns = seconds_to_ns(self.config.period_seconds)
        if period_ns and (self._explained_ns is None or now_ns - self._explained_ns >= period_ns):
            return "period"
        return None

    def reset(self) -> None:
        """Forget everything: the clock jumped."""
        self._explained = self._explained_ns = None
