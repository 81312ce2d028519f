"""Task pools, answers, fallbacks, label lists and sample ratios of every set and stage: all of it data, here and (texts) in
instructions_prompts.json.

Source: Emotion-LLaMAv2 (ooochen-30/Emotion-LLaMA-v2 at 5f0a408): mer_datasets.py is stage 1 (perception), mer_datasets_ft.py stage 2
(cognition), mer_eval_datasets.py the evaluation; sample ratios are those of its two training configurations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from .records import STREAMS, Stream

Form = Literal["label", "text", "think"]
PROMPTS = Path(__file__).with_name("instructions_prompts.json")

# What stands between [INST] and [/INST]; <VideoHere> is where the visual prefix goes.
TEMPLATES: Mapping[str, str] = {
    "training": "<Vid><VideoHere></Vid> {says} [{task}] {instruction} ",
    "evaluation": "<Vid><VideoHere></Vid>  {says} [{task}] {instruction} ",
    "evaluation_mer": "<Vid><VideoHere></Vid> {says} [{task}] {instruction} ",  # MER2023's two sets have one space less
    "general": "<Vid><VideoHere></Vid> {instruction} ",
    "caption": "<Vid><VideoHere></Vid> [{task}] {instruction} ",
    "unsaid": "<Vid><VideoHere></Vid> [{task}] {instruction}",  # as a robot asks where nobody said anything (reasoner/published.py)
    "emotion_llama_unsaid": "<video><VideoHere></video> <feature><FeatureHere></feature> [{task}] {instruction}",
    "emotion_llama": "<video><VideoHere></video> <feature><FeatureHere></feature> {says} [{task}] {instruction} ",
}
CHAT = "[INST] {} [/INST]"
SAYS = "The person in video says: {text}. "
SAYS_PLAIN = "The person in video says: {text} "  # stage 2: without the added full stop
SAYS_WHO = "{speaker} in video says: {text}. "  # E3, whose table names the person
THINK = "<think>{reason}</think><answer>{label}</answer>"
WORDS: Mapping[str, int] = {"stage1": 120, "stage2": 200}  # a longer answer falls back to the label


@dataclass(frozen=True)
class Choice:
    """Instruction pools for clips with certain labels: (pool, odds). `labels` () for any label; `but` are exempt."""

    pools: tuple[tuple[str, float], ...]
    labels: tuple[str, ...] = ()
    but: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """How a task becomes an instruction and an answer.

    tag      in the prompt's brackets
    choices  the first that fits the clip's label gives the pool
    label    the task whose label the answer states
    texts    columns of annotated text; the answer is, or thinks with, one of them
    streams  what of the clip is shown
    """

    tag: str
    choices: tuple[Choice, ...]
    label: str = ""
    form: Form = "label"
    texts: tuple[str, ...] = ()
    streams: tuple[Stream, ...] = STREAMS


@dataclass(frozen=True)
class Plan:
    """One set in one stage. `tasks` are drawn evenly, so a task that stands twice is drawn twice as often; of a task's rules one is drawn.

    fallback  taken where the drawn answer cannot be given
    limit     in words of an answer; 0 for none, which is the reference's oversight in DFEW's second stage
    """

    tasks: tuple[str, ...]
    rules: Mapping[str, tuple[Rule, ...]]
    fallback: Rule
    says: str = SAYS
    reference_limit: bool = True


@dataclass(frozen=True)
class Evaluation:
    """One of the eighteen benchmarks, as a prompt. `labels` are kept ({} all) and said so; `mode` where it is not the split's own name."""

    set: str
    task: str
    tag: str
    splits: tuple[str, ...]
    template: str = "evaluation"
    says: str = SAYS
    text: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    mode: str = ""


def _pools(*names: str) -> tuple[Choice, ...]:
    return tuple(Choice(((name, 1.0),)) for name in names)


def _without_neutral(pool: str, other: str, odds: float, neutral: str = "neutral") -> tuple[Choice, ...]:
    """Half of the clips that show something are asked without the choice to call them neutral."""
    return (Choice(((other, odds), (pool, 1.0 - odds)), but=(neutral,)), *_pools(pool))


def _perception(name: str, tasks: tuple[str, ...], rules: dict[str, Rule], fallback: str, says: str = SAYS, own: bool = False) -> Plan:
    """A stage-1 plan: the set's label tasks, and what single-modality models said of sound and picture."""
    place = f"stage1/{name if own else '*'}"
    audio = Rule(
        "audio", _pools(f"{place}/audio"), form="text", texts=("response_AudioReasoner", "response_Qwen2Audio"), streams=("audio",)
    )
    image = Rule("image", _pools(f"{place}/image"), form="text", texts=("response_Qwen25vl_72B",), streams=("scene",))
    every = {**{task: (rule,) for task, rule in rules.items()}, "audio": (audio,), "image": (image,)}
    return Plan(tasks, every, rules[fallback], says)


def _labels(tag: str, pool: str, label: str = "") -> Rule:
    return Rule(tag, _pools(pool), label or tag)


_FOUR = ("Anger", "Sadness", "Neutral", "Happiness")
_THREE = ("Anger", "Sadness", "Happiness")
_IEMOCAP_PERCEPTION = Rule("emotion", (Choice((("stage1/iemocap/emotion_4", 1.0),), _FOUR), *_pools("stage1/iemocap/emotion")), "emotion")


def _simple_perception(name: str, task: str, says: str = SAYS) -> Plan:
    return _perception(name, (task, "audio", "image"), {task: _labels(task, f"stage1/{name}/{task}")}, task, says)


PERCEPTION: Mapping[str, Plan] = {
    **{name: _simple_perception(name, "emotion") for name in ("mer2023", "caer", "dfew")},
    **{name: _simple_perception(name, "sentiment") for name in ("ch_sims_v2_s", "cmu_mosei", "cmu_mosi")},
    "e3": _simple_perception("e3", "emotion", SAYS_WHO),
    "iemocap": _perception("iemocap", ("emotion", "audio", "image"), {"emotion": _IEMOCAP_PERCEPTION}, "emotion"),
    "mc_eiu": _perception(
        "mc_eiu",
        ("emotion", "audio", "image", "intent"),
        {"emotion": _labels("emotion", "stage1/mc_eiu/emotion"), "intent": _labels("intent", "stage1/mc_eiu/intent")},
        "intent",
        own=True,
    ),
    "mafw": _perception(
        "mafw",
        ("emotion", "audio", "image", "multi-label"),
        {"emotion": _labels("emotion", "stage1/mafw/emotion"), "multi-label": _labels("multi-label", "stage1/mafw/multi_label")},
        "emotion",
    ),
    "bold": _perception(
        "bold", ("multi-label", "audio", "image"), {"multi-label": _labels("multi-label", "stage1/bold/multi_label")}, "multi-label"
    ),
    "meld": _perception(
        "meld",
        ("emotion", "audio", "image", "sentiment"),
        {"emotion": _labels("emotion", "stage1/meld/emotion"), "sentiment": _labels("sentiment", "stage1/meld/sentiment")},
        "emotion",
    ),
}

_EMOTION, _SENTIMENT = "gpt-4o-mini_Emotion", "gpt-4o-mini_Sentiment"
_ANY = "stage2/*/multimodal"


def _cognition(
    tasks: tuple[str, ...], rules: Mapping[str, tuple[Rule, ...]], fallback: Rule, says: str = SAYS_PLAIN, reference_limit: bool = True
) -> Plan:
    return Plan(tasks, rules, fallback, says, reference_limit)


def _reason(pool: str, text: str) -> Rule:
    return Rule("reason", _pools(pool), form="text", texts=(text,))


def _think(choices: tuple[Choice, ...], text: str, label: str) -> Rule:
    return Rule("think", choices, label, "think", (text,))


def _told(name: str, label: str, text: str, choices: tuple[Choice, ...] = ()) -> Plan:
    """A stage-2 plan with pools of its own for label, reason and thought."""
    first = Rule(label, choices or _pools(f"stage2/{name}/{label.replace('-', '_')}"), label)
    plain = _labels(label, f"stage2/{name}/{label.replace('-', '_')}")
    rules = {
        label: (first,),
        "reason": (_reason(f"stage2/{name}/reason", text),),
        "think": (_think(_pools(f"stage2/{name}/think"), text, label),),
    }
    return _cognition((label, "reason", "think"), rules, plain)


_MER, _DFEW, _IEMOCAP, _MAFW, _MELD = (f"stage2/{name}" for name in ("mer2023", "dfew", "iemocap", "mafw", "meld"))
_POLARITY = {
    name: _without_neutral(f"stage2/{name}/sentiment", f"stage2/{name}/sentiment_without_neutral", 0.5, "Neutral")
    for name in ("cmu_mosei", "cmu_mosi")
}
_IEMOCAP_COGNITION = (
    Choice(((f"{_IEMOCAP}/emotion_3", 0.5), (f"{_IEMOCAP}/emotion_4", 0.5)), _THREE),
    Choice(((f"{_IEMOCAP}/emotion_4", 0.5), (f"{_IEMOCAP}/emotion", 0.5)), ("Neutral",)),
    *_pools(f"{_IEMOCAP}/emotion"),
)

COGNITION: Mapping[str, Plan] = {
    "mer2023": _cognition(
        ("emotion", "think", "reason"),
        {
            "emotion": (Rule("emotion", _without_neutral(f"{_MER}/emotion", f"{_MER}/emotion_without_neutral", 0.5), "emotion"),),
            "think": (_think(_without_neutral(_ANY, f"{_MER}/think_without_neutral", 0.8), _EMOTION, "emotion"),),
            "reason": (_reason(_ANY, _EMOTION),),
        },
        _labels("emotion", f"{_MER}/emotion"),
    ),
    "caer": _told("caer", "emotion", _EMOTION),
    "dfew": _cognition(
        ("emotion", "reason", "think"),
        {
            "emotion": (Rule("emotion", _without_neutral(f"{_DFEW}/emotion", f"{_DFEW}/emotion_without_neutral", 0.5), "emotion"),),
            "reason": (_reason(f"{_DFEW}/reason", _EMOTION),),
            "think": (_think(_without_neutral(f"{_DFEW}/think", f"{_DFEW}/think_without_neutral", 0.5), _EMOTION, "emotion"),),
        },
        _labels("emotion", f"{_DFEW}/emotion"),
        reference_limit=False,
    ),
    "mc_eiu": _cognition(
        ("emotion", "reason", "think", "intent", "intent"),
        {
            "emotion": (_labels("emotion", "stage2/mc_eiu/emotion"),),
            "intent": (_labels("intent", "stage2/mc_eiu/intent"),),
            "reason": (_reason("stage2/mc_eiu/reason", "gpt-4o-mini_intent"),),
            "think": (_think(_pools("stage2/mc_eiu/think"), "gpt-4o-mini_intent", "intent"),),
        },
        _labels("intent", "stage2/mc_eiu/intent"),
    ),
    "e3": _cognition(
        ("emotion", "think", "reason"),
        {
            "emotion": (_labels("emotion", "stage2/e3/emotion"),),
            "think": (_think(_pools("stage2/e3/think"), _EMOTION, "emotion"),),
            "reason": (_reason(_ANY, _EMOTION),),
        },
        _labels("emotion", "stage2/e3/emotion"),
        SAYS_WHO,
    ),
    "iemocap": _cognition(
        ("emotion", "think", "reason"),
        {
            "emotion": (Rule("emotion", _IEMOCAP_COGNITION, "emotion"),),
            "think": (_think(_pools(f"{_IEMOCAP}/think"), _EMOTION, "emotion"),),
            "reason": (_reason(_ANY, _EMOTION),),
        },
        Rule("emotion", (Choice(((f"{_IEMOCAP}/emotion_3", 1.0),), _THREE), *_pools(f"{_IEMOCAP}/emotion")), "emotion"),
    ),
    "mafw": _cognition(
        ("emotion", "reason", "think", "multi-label", "think-multi"),
        {
            "emotion": (_labels("emotion", f"{_MAFW}/emotion"),),
            "reason": (_reason(_ANY, "gpt-4o-mini_Single"),),
            "think": (_think(_pools(f"{_MAFW}/think"), "gpt-4o-mini_Single", "emotion"),),
            "multi-label": (_labels("multi-label", f"{_MAFW}/multi_label"),),
            "think-multi": (_think(_pools(f"{_MAFW}/think_multi"), "gpt-4o-mini_Multi", "multi-label"),),
        },
        _labels("emotion", f"{_MAFW}/emotion"),
    ),
    "bold": _told("bold", "multi-label", _EMOTION),
    "ch_sims_v2_s": _told("ch_sims_v2_s", "sentiment", _SENTIMENT),
    "cmu_mosei": _told("cmu_mosei", "sentiment", _SENTIMENT, _POLARITY["cmu_mosei"]),
    "cmu_mosi": _told("cmu_mosi", "sentiment", _SENTIMENT, _POLARITY["cmu_mosi"]),
    "meld": _cognition(
        ("emotion", "reason", "think", "sentiment"),
        {
            "emotion": (_labels("emotion", f"{_MELD}/emotion"),),
            "sentiment": (_labels("sentiment", f"{_MELD}/sentiment"),),
            "reason": (_reason(f"{_MELD}/reason_sentiment", _SENTIMENT), _reason(f"{_MELD}/reason_emotion", _EMOTION)),
            "think": (
                _think(_pools(f"{_MELD}/think_sentiment"), _SENTIMENT, "sentiment"),
                _think(_pools(f"{_MELD}/think_emotion"), _EMOTION, "emotion"),
            ),
        },
        _labels("emotion", f"{_MELD}/emotion"),
    ),
}
PLANS: Mapping[str, Mapping[str, Plan]] = {"stage1": PERCEPTION, "stage2": COGNITION}
GENERAL: Mapping[str, str] = {
    "coco_caption": "caption",
    **dict.fromkeys(("refcoco", "refcocop", "refcocog"), "refer"),
    **dict.fromkeys(("coco_vqa", "ok_vqa", "aok_vqa", "gqa"), "vqa"),
}

_EMOTIONS_RATIO = {
    "mer2023": 60,
    "caer": 135,
    "dfew": 135,
    "mc_eiu": 120,
    "mafw": 105,
    "bold": 135,
    "e3": 195,
    "iemocap": 120,
    "ch_sims_v2_s": 60,
    "cmu_mosei": 240,
    "cmu_mosi": 45,
    "meld": 150,
}
_REFCOCO = {"refcoco": 100, "refcocop": 100, "refcocog": 100}
RATIOS: Mapping[str, Mapping[str, int]] = {
    "stage1": {"coco_caption": 30, **_REFCOCO, "coco_vqa": 75, "ok_vqa": 50, "aok_vqa": 36, "gqa": 50, **_EMOTIONS_RATIO},
    "stage2": {"coco_caption": 60, **_REFCOCO, "coco_vqa": 75, "ok_vqa": 100, "aok_vqa": 72, "gqa": 100, **_EMOTIONS_RATIO, "mc_eiu": 150},
}

_IEMOCAP_SCORED = {"Anger": "anger", "Neutral": "neutral", "Sadness": "sadness", "Happiness": "happiness", "Excited": "happiness"}
EVALUATIONS: Mapping[str, Evaluation] = {
    "mer2023": Evaluation("mer2023", "emotion", "emotion", ("test1", "test2", "test3"), "evaluation_mer", text="chinese"),
    "mer2024_semi": Evaluation("mer2024_semi", "emotion", "emotion", ("test_semi",), "evaluation_mer", text="chinese", mode="other"),
    "meld_emotion": Evaluation("meld", "emotion", "emotion", ("test", "dev")),
    "iemocap": Evaluation("iemocap", "emotion", "emotion", ("Session5",), labels=_IEMOCAP_SCORED),
    "ov_merd+": Evaluation("ov_merd+", "multi-label", "multi-label", ("test",), says=SAYS_PLAIN),
    "cmu_mosi": Evaluation("cmu_mosi", "sentiment", "sentiment", ("test", "valid")),
    "cmu_mosei": Evaluation("cmu_mosei", "sentiment", "sentiment", ("test", "valid")),
    "sims": Evaluation("sims", "sentiment", "sentiment", ("test",)),
    "ch_sims_v2_s": Evaluation("ch_sims_v2_s", "sentiment", "sentiment", ("test",)),
    "mafw_multi": Evaluation("mafw", "multi-label", "multi-label", ("test",)),
    "bold": Evaluation("bold", "multi-label", "multi-label", ("val",)),
    "caer": Evaluation("caer", "emotion", "emotion", ("test", "validation")),
    "e3": Evaluation("e3", "emotion", "emotion", ("test", "val"), says=SAYS_WHO),
    "dfew": Evaluation("dfew", "emotion", "emotion", ("test", "validation")),
    "mafw": Evaluation("mafw", "emotion", "emotion", ("test",)),
    "meld_sentiment": Evaluation("meld", "sentiment", "sentiment", ("test", "dev")),
    "mc_eiu_intent": Evaluation("mc_eiu", "intent", "intent", ("test", "validation")),
    "mc_eiu_emotion": Evaluation("mc_eiu", "emotion", "emotion", ("test", "validation")),
}

# Published instructions that name a label otherwise than the set does: (pool's beginning) → word → label.
WORDING: Mapping[str, Mapping[str, str]] = {
    "stage1/meld/emotion": {"sad": "sadness"},
    "stage2/meld/emotion": {"sad": "sadness"},
    "stage2/meld/reason_emotion": {"sad": "sadness"},
    "stage2/meld/think_emotion": {"sad": "sadness"},
    "evaluation/meld_emotion": {"sad": "sadness"},
    "evaluation/dfew": {"angry": "anger"},
    "stage1/e3/emotion": {"anger": "angry"},
    "stage2/e3": {"anger": "angry"},
    "evaluation/iemocap": {"Anger, Sadness, Happiness": "Anger, Neutral, Sadness, Happiness"},  # neutral clips are asked as well
}


@lru_cache
def prompts() -> Mapping[str, tuple[str, ...]]:
    """All published instructions by pool."""
    pools = json.loads(PROMPTS.read_text(encoding="utf-8"))["pools"]
    return {name: tuple(pools[pool] if isinstance(pool, str) else pool) for name, pool in pools.items()}


def instructions(pool: str) -> tuple[str, ...]:
    """The published instructions of a pool, "stage2/meld/reason_emotion". KeyError for another name."""
    return prompts()[pool]
