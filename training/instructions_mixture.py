"""Clips of many sets → one endless stream of training samples, by the sets' sample ratios."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from .instructions import DEFAULT, Behaviour, Stage, training_sample
from .instructions_tables import RATIOS
from .records import Clip, Sample


class Mixture:
    """An endless stream of training samples: a set is drawn by ratio, then its next clip; a set's clips come once a pass, shuffled.

    Sample number n is the same whatever was read before, on how many processes, or after a stop: `start` at n goes on exactly.
    Every process takes the numbers rank, rank + world, …
    """

    def __init__(
        self,
        clips: Mapping[str, Sequence[Clip]],
        stage: Stage,
        seed: int = 42,
        ratios: Mapping[str, float] | None = None,
        behaviour: Behaviour = DEFAULT,
    ) -> None:
        """ValueError when no set has both clips and a ratio. Sets without clips are left out and the others' shares grow."""
        ratios = RATIOS[stage] if ratios is None else ratios
        self.shares = {name: float(ratios[name]) for name in sorted(clips) if clips[name] and ratios.get(name, 0) > 0}
        if not self.shares:
            raise ValueError(f"none of {', '.join(clips) or 'no sets'} has clips and a ratio; the ratios are of {', '.join(ratios)}")
        self._clips, self._stage, self._seed, self._behaviour = clips, stage, seed, behaviour
        self._orders: dict[tuple[str, int], list[int]] = {}

    def stream(self, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[tuple[int, Sample]]:
        """(number, sample) from `start` on. Clips of which nothing can be asked are passed over in their turn."""
        taken = dict.fromkeys(self.shares, 0)
        names, shares = tuple(self.shares), tuple(self.shares.values())
        number = 0
        while True:
            name = random.Random(f"{self._seed}/set/{number}").choices(names, shares)[0]
            turn = taken[name]
            taken[name] += 1
            if number >= start and number % world == rank:
                yield number, self._at(name, turn)
            number += 1

    def _at(self, name: str, turn: int) -> Sample:
        clips = self._clips[name]
        for step in range(len(clips)):
            lap, place = divmod(turn, len(clips))
            clip = clips[self._order(name, lap)[(place + step) % len(clips)]]
            rng = random.Random(f"{self._seed}/{self._stage}/{lap}/{clip.key}")
            sample = training_sample(clip, self._stage, rng, self._behaviour)
            if sample is not None:
                return sample
        raise ValueError(f"nothing can be asked of any clip of {name}; index it again and look at its problems")

    def _order(self, name: str, lap: int) -> list[int]:
        if (name, lap) not in self._orders:
            for known in [key for key in self._orders if key[0] == name]:
                del self._orders[known]
            order = list(range(len(self._clips[name])))
            random.Random(f"{self._seed}/order/{name}/{lap}").shuffle(order)
            self._orders[name, lap] = order
        return self._orders[name, lap]
