"""What the agents' requests cost: counts, tokens and money by model, over all runs of one job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from ..whole import write_whole


class BudgetSpent(RuntimeError):
    """The money that was allowed is spent; what was answered is kept, and the same command goes on with a larger budget."""


@dataclass
class Usage:
    """Of one model. Tokens are those the server counted; `cached` answers cost nothing and are in no other count."""

    requests: int = 0
    cached: int = 0
    retries: int = 0
    refusals: int = 0
    malformed: int = 0
    cut_short: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


@dataclass
class Ledger:
    """By model. `budget` is in the money of the prices; 0 is none.

    A request that was answered and whose answer was of no use has cost its tokens all the same, and counts.
    """

    budget: float = 0.0
    models: dict[str, Usage] = field(default_factory=dict)

    def of(self, model: str) -> Usage:
        return self.models.setdefault(model, Usage())

    @property
    def cost(self) -> float:
        return sum(usage.cost for usage in self.models.values())

    def check(self) -> None:
        """BudgetSpent when the budget is used up."""
        if self.budget and self.cost >= self.budget:
            raise BudgetSpent(f"{self.cost:.4f} of {self.budget:g} spent; go on with a larger --budget")

    @staticmethod
    def read(path: Path, budget: float = 0.0) -> Ledger:
        """What earlier runs used, or an empty one. ValueError where the file is none of ours."""
        if not path.is_file():
            return Ledger(budget)
        names = {known.name for known in fields(Usage)}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["models"]
            return Ledger(budget, {model: Usage(**{k: v for k, v in usage.items() if k in names}) for model, usage in found.items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} holds no usage ({error}); move it away and the count begins anew") from error

    def write(self, path: Path) -> None:
        write_whole(path, json.dumps(self.record(), indent=1) + "\n")

    def record(self) -> Mapping[str, object]:
        return {"cost": self.cost, "models": {model: asdict(usage) for model, usage in self.models.items()}}

    def summary(self) -> str:
        lines = []
        for model, usage in self.models.items():
            tokens = f"{usage.prompt_tokens} + {usage.completion_tokens} tokens"
            counts = {name: getattr(usage, name) for name in ("cached", "retries", "refusals", "malformed", "cut_short", "failures")}
            told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
            cost = f", cost {usage.cost:.4f}" if usage.cost else ""
            lines.append(f"{model}: {usage.requests} requests, {tokens}{cost}" + (f"; {told}" if told else ""))
        return "\n".join(lines)
