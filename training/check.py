"""Is what the network says true? Windows of val people through the real pipeline, its explanations parsed, every claim measured again.

A window is a composed view held still and a voice at some microphone's level, put together as `evaluate` does. The face's measures are
those of the val picture that went into the view, its size and place are the composed ones, and the voice is measured as far as the window
holds it. A text is also held against other windows: what is true of those as often was not read off the window.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ros2_emollama.config import Config, ModelConfig, ReasonerConfig
from ros2_emollama.model.presets import LABELS
from ros2_emollama.pipeline import Pipeline
from ros2_emollama.reasoner.prompt import names_label
from ros2_emollama.types import Float32, Window

from .compose import ViewOptions, as_rgb, compose
from .cues import LEAST, Cues, cues_of
from .data import Faces, Voices
from .evaluate import still_window
from .face_measures import FACE_MEASURES
from .lexicon import PHRASES, Claim, parse
from .measures import Norms, read_measures
from .voice_measures import VOICE_MEASURES, measure_voice, speaking, speaking_level

KINDS = {"both": 0.5, "face": 0.2, "voice": 0.2, "nobody": 0.1}
VIEW_PIXELS = 256
SMALLEST = 0.15  # of the view's height: of a smaller face even we could not say what the lids do
LEVELS_DBFS = (-42.0, -16.0)  # of the speaking part
NOISE_DB = -30.0  # against the speaking part
ROOM_DBFS = -60.0  # where nobody speaks
PERMUTATIONS = 20
BOOTSTRAPS = 1000
MEANINGS = {
    "three_cues": f"explanations with {LEAST} cues or more, where somebody is there",
    "true": "claims that are true",
    "shuffled": "the same claims, held against any other window",
    "shuffled_alike": "the same, against a window with the same people present",
    "strong_named": "strongly measured cues that are named",
    "own_text": "texts that no window with other cues got",
    "label_named": "texts that name the state's label and no other",
}


@dataclass(frozen=True)
class Told:
    """One window's cues, as measured, and what was said of it."""

    kind: str
    cues: Cues
    state: str
    text: str

    @property
    def claims(self) -> tuple[Claim, ...]:
        return parse(self.text)

    @property
    def measured(self) -> frozenset[Claim]:
        """What the annotator would say."""
        return frozenset([*self.cues.worth_saying(least=LEAST - len(self.cues.absent)), *self.cues.absent])


class Scenes:
    """Val faces and voices with their measures, and windows made of them."""

    def __init__(self, cache: Path) -> None:
        self._faces, self._voices, self._norms = Faces(cache), Voices(cache), Norms.read(cache)
        self._face_table = read_measures(cache, "faces")
        self._face_places, self._voice_places = self._faces.where("val"), self._voices.where("val")

    def draw(self, pipeline: Pipeline, kind: str, rng: np.random.Generator) -> tuple[Window, Cues]:
        """A window of one of KINDS and what is measured of it; face and voice are of one label."""
        spoken = self._voices.labels[self._voice_places]
        label = int(rng.choice(np.unique(spoken)))
        image, box, face = self._look(label, rng) if kind in ("both", "face") else (self._empty(rng), None, None)
        if kind == "voice" and rng.random() < 0.5:
            image = None
        if kind in ("both", "voice"):
            sound, voice = self._say(int(rng.choice(self._voice_places[spoken == label])), pipeline, rng)
        else:
            sound, voice = (None if kind == "face" and rng.random() < 0.5 else _room(pipeline, rng)), None
        return still_window(pipeline, image, sound), cues_of(self._norms, box, face, voice)

    def _look(self, label: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.uint8], tuple[float, float, float], dict[str, float]]:
        place = int(rng.choice(self._face_places[self._faces.labels[self._face_places] == label]))
        options = ViewOptions(nobody=0.0, second_face=0.0, min_height=SMALLEST)
        view = compose(self._faces.pictures[place : place + 1], rng, VIEW_PIXELS, options)
        x, y, height = (float(value) for value in view.boxes[0])
        return as_rgb(view.picture), (x, y, height), dict(zip(FACE_MEASURES, map(float, self._face_table[place]), strict=True))

    def _empty(self, rng: np.random.Generator) -> npt.NDArray[np.uint8] | None:
        people = self._faces.pictures[self._face_places[:64]]
        return as_rgb(compose(people, rng, VIEW_PIXELS, ViewOptions(nobody=1.0)).picture)

    def _say(self, place: int, pipeline: Pipeline, rng: np.random.Generator) -> tuple[Float32, dict[str, float]]:
        kept = self._voices.voice(place)[-round(pipeline.preset.window_seconds * pipeline.preset.audio.sample_rate_hz) :]
        level = float(rng.uniform(*LEVELS_DBFS))
        clean = (kept * 10 ** ((level - speaking_level(kept, speaking(kept))) / 20)).clip(-1, 1).astype(np.float32)
        noise = rng.standard_normal(clean.size).astype(np.float32) * np.float32(10 ** ((level + NOISE_DB) / 20))
        return clean + noise, dict(zip(VOICE_MEASURES, map(float, measure_voice(clean)), strict=True))


def _room(pipeline: Pipeline, rng: np.random.Generator) -> Float32:
    count = round(pipeline.preset.window_seconds * pipeline.preset.audio.sample_rate_hz)
    return (rng.standard_normal(count) * 10 ** (ROOM_DBFS / 20)).astype(np.float32)


def tell(model: str, cache: Path, windows: int, seed: int) -> tuple[str, list[Told]]:
    """The model's id, and what it says of `windows` windows. Progress on stderr."""
    pipeline = Pipeline.load(Config(model=ModelConfig(path=model), reasoner=ReasonerConfig(enabled=True)))
    scenes, rng, told = Scenes(cache), np.random.default_rng(seed), []
    for _ in tqdm(range(windows), desc="explaining", unit="window"):
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
        window, cues = scenes.draw(pipeline, kind, rng)
        pipeline.forget()
        percept = pipeline.perceive(window)
        text = pipeline.explain(percept, deadline_seconds=60.0).text
        told.append(Told(kind, cues, percept.state.label, text))
    return pipeline.folder.model_id, told


def report_of(told: Sequence[Told], seed: int = 0) -> dict[str, Any]:
    """Shares with 95 % bootstrap intervals over windows, and each claim's own."""
    if not told:
        raise ValueError("nothing was told; give --windows at least 1")
    rng = np.random.default_rng(seed)
    others = [_others(told, rng, alike) for alike in (False, True)]
    somebody = [i for i, item in enumerate(told) if item.kind != "nobody"]
    ratios: dict[str, list[tuple[float, float]]] = {
        "three_cues": [(float(len(told[i].claims) >= LEAST), 1.0) for i in somebody],
        "true": [(_true(item, item.cues), len(item.claims)) for item in told],
        "shuffled": [_mean(item, told, others[0][i]) for i, item in enumerate(told)],
        "shuffled_alike": [_mean(item, told, others[1][i]) for i, item in enumerate(told)],
        "strong_named": [(len(item.cues.strong() & set(item.claims)), len(item.cues.strong())) for item in told],
        "own_text": _own_texts(told),
        "label_named": [(float(names_label(item.text, item.state, LABELS)), 1.0) for item in told],
    }
    return {
        "windows": len(told),
        "cues_per_text": float(np.mean([len(item.claims) for item in told])),
        **{name: _share(np.array(pairs, np.float64).reshape(-1, 2), rng) for name, pairs in ratios.items()},
        "differing_pairs": _differing_pairs(told),
        "kinds": {kind: _of_kind([item for item in told if item.kind == kind]) for kind in KINDS},
        "claims": {f"{name} {side:+d}": found for (name, side) in PHRASES if (found := _of_claim(told, (name, side), others[0]))},
        "examples": [{"kind": item.kind, "state": item.state, "text": item.text} for item in told[:20]],
    }


def _true(item: Told, cues: Cues) -> int:
    return sum(cues.holds(claim) for claim in item.claims)


def _others(told: Sequence[Told], rng: np.random.Generator, alike: bool) -> list[list[int]]:
    """For each window, others drawn at random: any, or with the same people present."""
    found = []
    for place, item in enumerate(told):
        pool = [i for i, other in enumerate(told) if i != place and (not alike or other.kind == item.kind)]
        found.append([int(i) for i in rng.choice(pool, PERMUTATIONS)] if pool else [])
    return found


def _mean(item: Told, told: Sequence[Told], others: Sequence[int]) -> tuple[float, float]:
    """How many of a text's claims are true of other windows, on average, and how many there are."""
    return (float(np.mean([_true(item, told[i].cues) for i in others])), len(item.claims)) if others else (0.0, 0.0)


def _own_texts(told: Sequence[Told]) -> list[tuple[float, float]]:
    """Whether no window with other cues got the same text, one a window."""
    sets: dict[str, set[frozenset[Claim]]] = {}
    for item in told:
        sets.setdefault(item.text, set()).add(item.measured)
    return [(float(len(sets[item.text]) == 1), 1.0) for item in told]


def _differing_pairs(told: Sequence[Told]) -> float:
    """Of all pairs of windows with different cues, the share with different texts; NaN without such pairs."""

    def pairs(key: Callable[[Told], Any]) -> int:
        return sum(n * (n - 1) // 2 for n in Counter(map(key, told)).values())

    other_cues = len(told) * (len(told) - 1) // 2 - pairs(lambda item: item.measured)
    same_text = pairs(lambda item: item.text) - pairs(lambda item: (item.text, item.measured))
    return 1 - same_text / other_cues if other_cues else float("nan")


def _share(pairs: npt.NDArray[np.float64], rng: np.random.Generator) -> dict[str, Any]:
    """(N, 2) numerators and denominators → their ratio and its interval; NaN where there is nothing to divide by."""
    with np.errstate(invalid="ignore"):
        drawn = rng.integers(0, len(pairs), (BOOTSTRAPS, len(pairs))) if len(pairs) else np.zeros((1, 0), int)
        sums = pairs[drawn].sum(axis=1)
        ratios = sums[:, 0] / sums[:, 1]
        total = pairs.sum(axis=0)
        kept = ratios[np.isfinite(ratios)]
        interval = [float(value) for value in np.percentile(kept, (2.5, 97.5))] if kept.size else [float("nan")] * 2
        return {"share": float(total[0] / total[1]), "interval_95": interval, "n": int(total[1])}


def _of_kind(told: Sequence[Told]) -> dict[str, float]:
    claims = sum(len(item.claims) for item in told)
    return {
        "windows": len(told),
        "cues_per_text": claims / max(len(told), 1),
        "true": sum(_true(item, item.cues) for item in told) / claims if claims else float("nan"),
    }


def _of_claim(told: Sequence[Told], claim: Claim, others: Sequence[Sequence[int]]) -> dict[str, float]:
    """How often a claim is made, is true, is true of other windows, and is named where it is strong; empty without any of these."""
    made = [i for i, item in enumerate(told) if claim in item.claims]
    strong = [item for item in told if claim in item.cues.strong()]
    if not made and not strong:
        return {}
    elsewhere = [told[j].cues.holds(claim) for i in made for j in others[i]]
    return {
        "n": len(made),
        "true": float(np.mean([told[i].cues.holds(claim) for i in made])) if made else float("nan"),
        "shuffled": float(np.mean(elsewhere)) if elsewhere else float("nan"),
        "strong": len(strong),
        "strong_named": float(np.mean([claim in item.claims for item in strong])) if strong else float("nan"),
    }


def without_nan(found: Any) -> Any:
    """The same with None for NaN, which JSON does not have."""
    if isinstance(found, dict):
        return {key: without_nan(value) for key, value in found.items()}
    if isinstance(found, list):
        return [without_nan(value) for value in found]
    return None if isinstance(found, float) and np.isnan(found) else found


def summary(report: dict[str, Any]) -> str:
    """The report as a table."""
    lines = [f"{report['model']}: {report['windows']} windows, {report['cues_per_text']:.2f} cues an explanation"]
    for name, meaning in MEANINGS.items():
        found = report[name]
        low, high = found["interval_95"]
        lines.append(f"  {meaning:56s} {found['share']:6.3f} [{low:.3f}, {high:.3f}]  of {found['n']}")
    lines.append(f"  {'pairs of windows with other cues whose texts differ':56s} {report['differing_pairs']:6.3f}")
    lines.append("  window      n   cues   true")
    lines += [f"  {kind:8s} {k['windows']:4d} {k['cues_per_text']:6.2f} {k['true']:6.3f}" for kind, k in report["kinds"].items()]
    lines.append("  claim                        n   true  shuffled  strong  of them named")
    for name, c in report["claims"].items():
        lines.append(f"  {name:26s} {c['n']:4d} {c['true']:6.3f} {c['shuffled']:9.3f} {c['strong']:7d} {c['strong_named']:8.3f}")
    return "\n".join(lines)


def check(model: str, cache: Path, windows: int, seed: int, output: Path | None = None) -> dict[str, Any]:
    """Tell, and report; the report goes to `output` where one is given."""
    model_id, told = tell(model, cache, windows, seed)
    report = {"model": model_id, "seed": seed, **report_of(told, seed)}
    if output is not None:
        output.write_text(json.dumps(without_nan(report), indent=1) + "\n", encoding="utf-8")
    return report
