"""What one stage is: where it starts, what it reads, how it is trained; and the stream of samples that follows from it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..features_clip import Sampling
from ..instructions import BEHAVIOURS
from ..instructions_mixture import Mixture
from ..records import Clip, Sample
from .recipes import STAGES, Recipe, StageName
from .student import Language

Precision = str  # no, bf16 or fp16, as accelerate has them


@dataclass(frozen=True)
class Plan:
    """One stage of training.

    start         model folder it starts from
    index         clip index; datasets: these sets of it only ((): all)
    ratios        set → its share, instead of the published ones for those named
    features      shards of `python -m training features`, or "released"; "": everything is encoded while training
    csv           clips of one's own (own.py) instead of the index
    online        encode what the shards lack as well
    head          hidden units of a label head that is trained beside; 0: none; None: as the start has it
    affect        valence and arousal are trained beside the head, of the sets that have them
    micro_batch   samples a process takes at once; 0: its whole share of a step
    checkpointing recompute activations in the backward pass, which saves most of their memory
    """

    stage: StageName
    run: Path
    start: Path
    recipe: Recipe
    index: Path = Path("index")
    csv: Path | None = None
    datasets: tuple[str, ...] = ()
    ratios: Mapping[str, float] = field(default_factory=dict)
    behaviour: str = "default"
    features: str = ""
    online: bool = False
    sampling: Sampling = "uniform"
    utterances: tuple[str, ...] = ()
    head: int | None = None
    affect: bool = False
    head_weight: float = 0.5
    fusion: str = ""
    language: Language = "lora"
    precision: Precision = "no"
    checkpointing: bool = False
    micro_batch: int = 0
    workers: int = 2
    save_every: int = 500
    log_every: int = 10
    strict: bool = False

    def __post_init__(self) -> None:
        if self.behaviour not in BEHAVIOURS:
            raise ValueError(f"no behaviour {self.behaviour!r}; there are {', '.join(BEHAVIOURS)}")
        if self.save_every < 1 or self.log_every < 1 or self.micro_batch < 0:
            raise ValueError("--save-every and --log-every must be at least 1, --micro-batch at least 0")

    @property
    def folder(self) -> Path:
        return self.run / (f"stage{self.stage}" if self.stage.isdigit() else self.stage)

    @property
    def model(self) -> Path:
        """Where the trained model folder goes."""
        return self.folder / "model"

    def told(self, model_id: str, shares: Mapping[str, float], clips: int, processes: int) -> dict[str, Any]:
        """What run.json holds: everything that a step depends on, and what does not."""
        values = {key: value for key, value in asdict(self).items() if key not in ("run", "start", "index", "csv", "strict")}
        return {**values, "start": model_id, "shares": dict(shares), "clips": clips, "processes": processes}


class Numbers(Protocol):
    """Numbered samples without end, the same on however many processes; see `Mixture`."""

    shares: dict[str, float]

    def stream(self, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[tuple[int, Sample]]: ...


class Joint:
    """Both stages' samples at once: a number's own draw says which stage it is of."""

    def __init__(self, mixtures: tuple[Mixture, Mixture], seed: int) -> None:
        self._mixtures, self._seed = mixtures, seed
        self.shares = {name: (mixtures[0].shares.get(name, 0.0) + share) / 2 for name, share in mixtures[1].shares.items()}

    def stream(self, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[tuple[int, Sample]]:
        """See `Mixture.stream`. Of the two streams the number's own one is taken, so either passes over half of its clips' turns."""
        first, second = (mixture.stream(start, rank, world) for mixture in self._mixtures)
        for (number, one), (_, other) in zip(first, second, strict=True):
            yield number, one if random.Random(f"{self._seed}/stage/{number}").random() < 0.5 else other


def numbers_of(plan: Plan, clips: Mapping[str, list[Clip]]) -> Numbers:
    """The plan's samples. ValueError when no set has both clips and a ratio."""
    from ..instructions_tables import RATIOS

    seed, behaviour = plan.recipe.seed, BEHAVIOURS[plan.behaviour]
    unknown = set(plan.ratios) - set(clips)
    if unknown:
        raise ValueError(f"--ratio names {', '.join(sorted(unknown))}; the index has {', '.join(clips)}")

    def mixture(stage: Any) -> Mixture:
        return Mixture(clips, stage, seed, {**RATIOS[stage], **plan.ratios}, behaviour)

    stages = STAGES[plan.stage]
    if len(stages) == 1:
        return mixture(stages[0])
    return Joint((mixture(stages[0]), mixture(stages[1])), seed)
