"""The eighteen benchmarks as data: file, mode, labels, metric, size, and the figures published for them.

Groups, dataset keys and modes are those of Emotion-LLaMAv2's score.sh (ooochen-30/Emotion-LLaMA-v2), sizes those of its label files and of
AffectGPT's Table 11 (arXiv 2501.16566); hit rate, open-set F-score and the polarity rule are MER-UniBench's.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["hit", "overlap", "polarity", "multi", "single"]

HEADLINES: Mapping[Kind, str] = {
    "hit": "hit_rate",
    "overlap": "f_score",
    "polarity": "weighted_f1",  # the first figure of MER-UniBench's sentiment sets (arXiv 2501.16566, section 4); accuracy stands beside it
    "multi": "mean_average_precision",
    "single": "accuracy",
}
GROUPS: Mapping[str, str] = {
    "MERUniBench-ht": "hit rate or open-set F-score, mean of five emotion wheels",
    "MERUniBench-nn": "positive or negative, neutral truths dropped",
    "Multi": "several labels a clip",
    "Single": "one label a clip",
}
EMOTION_LLAMA, AFFECT_GPT, EMOTION_LLAMA_V2 = "Emotion-LLaMA", "AffectGPT", "Emotion-LLaMAv2"
SOURCES: Mapping[str, str] = {
    EMOTION_LLAMA: "arXiv 2501.16566, Table 2",
    AFFECT_GPT: "arXiv 2501.16566, Table 2",
    EMOTION_LLAMA_V2: "arXiv 2601.16449, Table 10, perception then cognition; known to us second-hand, and per set not at all",
}
PUBLISHED_AVERAGES: Mapping[str, Mapping[str, float]] = {
    "Avg-9": {EMOTION_LLAMA: 64.17, AFFECT_GPT: 74.77, EMOTION_LLAMA_V2: 78.52},
    "Avg-18": {EMOTION_LLAMA_V2: 66.63},
}
FORMS: tuple[frozenset[str], ...] = (  # of one label, as data sets and prompts write it
    frozenset({"happy", "happiness", "joy", "joyful"}),
    frozenset({"sad", "sadness"}),
    frozenset({"angry", "anger"}),
    frozenset({"fear", "fearful", "scared", "afraid"}),
    frozenset({"disgust", "disgusted"}),
    frozenset({"surprise", "surprised"}),
    frozenset({"neutral", "neutrality"}),
    frozenset({"anxiety", "anxious"}),
    frozenset({"contempt", "contemptuous"}),
    frozenset({"disappointment", "disappointed"}),
    frozenset({"helplessness", "helpless"}),
    frozenset({"sarcastic", "sarcasm"}),
    frozenset({"disconnection", "disconnect"}),
    frozenset({"frustration", "frustrated"}),
)


@dataclass(frozen=True)
class Benchmark:
    """One of the eighteen.

    labels     its own label space, lower case; () where any word may be said
    modes      values of `mode` that are scored; () for all
    size       clips of the published test set; 0 where it is not known
    published  figures in percent by method
    """

    name: str
    title: str
    group: str
    kind: Kind
    modes: tuple[str, ...]
    labels: tuple[str, ...] = ()
    size: int = 0
    published: Mapping[str, float] = field(default_factory=dict)

    @property
    def headline(self) -> str:
        return HEADLINES[self.kind]

    @property
    def in_uni_bench(self) -> bool:
        return self.group.startswith("MERUniBench")

    def label(self, word: str) -> str:
        """A word as this set writes it ("sadness" → "sad"), or "" where the set has no such label. Lower case, no spaces around."""
        if not self.labels or word in self.labels:
            return word
        for forms in FORMS:
            if word in forms:
                return next((label for label in self.labels if label in forms), "")
        return ""


def _both(emotion_llama: float, affect_gpt: float) -> Mapping[str, float]:
    return {EMOTION_LLAMA: emotion_llama, AFFECT_GPT: affect_gpt}


_MER = ("happy", "sad", "neutral", "angry", "worried", "surprise")
_POLARITY = ("positive", "negative", "neutral")
_SEVEN = ("happy", "sad", "neutral", "anger", "surprise", "disgust", "fear")
_MAFW = (
    *("anger", "anxiety", "contempt", "disappointment", "disgust", "fear"),
    *("happiness", "helplessness", "neutral", "sadness", "surprise"),
)
_BOLD = (
    *("affection", "anger", "annoyance", "anticipation", "aversion", "confidence", "disapproval", "disconnection", "disquietment"),
    *("doubt/confusion", "embarrassment", "engagement", "esteem", "excitement", "fatigue", "fear", "happiness", "pain", "peace"),
    *("pleasure", "sadness", "sensitivity", "suffering", "surprise", "sympathy", "yearning"),
)
_INTENTS = ("acknowledging", "agreeing", "consoling", "encouraging", "neutral", "questioning", "suggesting", "wishing")
_E3 = ("angry", "disgusted", "happy", "sad", "sarcastic", "scared", "shy", "surprised")

BENCHMARKS: Mapping[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("mer2023", "MER2023", "MERUniBench-ht", "hit", ("test1",), _MER, 411, _both(59.38, 78.54)),
        Benchmark("mer2024_semi", "MER2024", "MERUniBench-ht", "hit", ("other",), _MER, 1169, _both(73.62, 78.80)),
        Benchmark(
            "meld_emotion",
            "MELD",
            "MERUniBench-ht",
            "hit",
            ("test",),
            ("neutral", "joy", "anger", "surprise", "sadness", "disgust", "fear"),
            2610,
            _both(46.76, 55.65),
        ),
        Benchmark(
            "iemocap",
            "IEMOCAP",
            "MERUniBench-ht",
            "hit",
            ("Session5",),
            ("anger", "neutral", "sadness", "happiness"),
            1496,
            _both(55.47, 60.54),
        ),
        Benchmark("cmu_mosi", "CMU-MOSI", "MERUniBench-nn", "polarity", ("test",), _POLARITY, 686, _both(66.13, 81.30)),
        Benchmark("cmu_mosei", "CMU-MOSEI", "MERUniBench-nn", "polarity", ("test",), _POLARITY, 4659, _both(67.66, 80.90)),
        Benchmark("sims", "CH-SIMS", "MERUniBench-nn", "polarity", ("test",), _POLARITY, 457, _both(78.32, 88.49)),
        Benchmark("ch_sims_v2_s", "CH-SIMS v2", "MERUniBench-nn", "polarity", ("test",), _POLARITY, 1034, _both(77.23, 86.18)),
        Benchmark("ov_merd+", "OV-MERD+", "MERUniBench-ht", "overlap", ("test",), (), 532, _both(52.97, 62.52)),
        Benchmark("mafw_multi", "MAFW, compound", "Multi", "multi", (), _MAFW),
        Benchmark("bold", "BoLD", "Multi", "multi", (), _BOLD),
        Benchmark("caer", "CAER", "Single", "single", ("test",), _SEVEN),
        Benchmark("e3", "E3", "Single", "single", ("test",), _E3),
        Benchmark("dfew", "DFEW", "Single", "single", ("test",), _SEVEN),
        Benchmark("mafw", "MAFW", "Single", "single", ("test",), _MAFW),
        Benchmark("meld_sentiment", "MELD sentiment", "Single", "single", ("test",), _POLARITY, 2610),
        Benchmark("mc_eiu_intent", "MC-EIU intent", "Single", "single", ("test",), _INTENTS),
        Benchmark("mc_eiu_emotion", "MC-EIU emotion", "Single", "single", ("test",), _SEVEN),
    )
}


def find_benchmark(name: str) -> Benchmark:
    """By its dataset key. KeyError naming what is near."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    near = difflib.get_close_matches(name, BENCHMARKS, 1)
    raise KeyError(f"no benchmark {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(BENCHMARKS)}"))
