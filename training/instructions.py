"""Clip → `Sample`: which task, which instruction, which answer. Everything that is drawn comes from a seed, set, clip and pass.

    training_sample(clip, "stage1" | "stage2", rng)   by the set's plan (instructions_tables.py)
    evaluation_samples("meld_emotion", clips)         the benchmark's one prompt
    instructions_mixture.Mixture                      an endless stream of them by the published sample ratios
The published strings are kept word for word; where the reference errs in what it does with them, `Behaviour` does better, and
`REFERENCE` repeats it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .instructions_tables import (
    CHAT,
    EVALUATIONS,
    GENERAL,
    PLANS,
    TEMPLATES,
    THINK,
    WORDING,
    WORDS,
    Evaluation,
    Plan,
    Rule,
    instructions,
)
from .records import STREAMS, Clip, Sample, Stream

Stage = Literal["stage1", "stage2"]
CAPTION_WORDS = 200


@dataclass(frozen=True)
class Behaviour:
    """What is done, field by field; False or the first value is ours, True repeats the reference.

    answers          "blip_caption": lower case without . ! " ( ) * # : ; ~ and at most 200 words, as published checkpoints learnt it;
                     "verbatim": as annotated
    perception       "captions": stage 1 also describes sound and picture alone, as the code does; "labels": labels only, as the paper says
    blank_fallback   an audio task without a caption falls back to the label, and the scene stays blank
    empty_thoughts   a missing reason is thought all the same: <think></think>
    no_limit         an answer of DFEW's stage 2 may be of any length
    lower_neutral    "Neutral" is not "neutral", so neutral clips too are asked without it (MOSI, MOSEI)
    stale_tags       a MAFW clip without several labels is asked for one under the tag of several
    one_column       the column of a caption is drawn first, and a clip that lacks it falls back though another model's is there
    raw_wording      instructions that name a label otherwise than the set ("sad" for "sadness") stay as they are, and so does the one in
                     each of MER2023's and DFEW's pools without neutral that lists neutral
    unknown_labels   a clip without a label is taught "unknown"
    """

    answers: Literal["blip_caption", "verbatim"] = "blip_caption"
    perception: Literal["captions", "labels"] = "captions"
    blank_fallback: bool = False
    empty_thoughts: bool = False
    no_limit: bool = False
    lower_neutral: bool = False
    stale_tags: bool = False
    one_column: bool = False
    raw_wording: bool = False
    unknown_labels: bool = False


DEFAULT = Behaviour()
REFERENCE = Behaviour("blip_caption", "captions", True, True, True, True, True, True, True, True)
BEHAVIOURS: Mapping[str, Behaviour] = {
    "default": DEFAULT,
    "reference": REFERENCE,
    "labels-only": Behaviour(perception="labels"),
}


def blip_caption(text: str) -> str:
    """An answer as Emotion-LLaMA and v2 train it (LAVIS's caption processor)."""
    plain = re.sub(r"\s{2,}", " ", re.sub(r"[.!\"()*#:;~]", " ", text.lower()))
    return " ".join(plain.rstrip("\n").strip(" ").split(" ")[:CAPTION_WORDS])


def prompt_text(sample: Sample) -> str:
    """The prompt with <VideoHere> where the visual prefix goes: "[INST] <Vid><VideoHere></Vid> … [/INST]". No <s>: that is a token."""
    parts = {"{task}": sample.task, "{says}": sample.says, "{instruction}": sample.instruction}
    # All at once: what a transcript spells out is never filled in.
    filled = re.sub(r"\{(?:task|says|instruction)\}", lambda found: parts[found[0]], TEMPLATES[sample.template])
    return CHAT.replace("{}", filled)


def training_sample(clip: Clip, stage: Stage, rng: random.Random, behaviour: Behaviour = DEFAULT) -> Sample | None:
    """One sample of a clip; None where nothing can be asked of it. KeyError for a set that is not trained on."""
    if clip.set in GENERAL:
        return _general_sample(clip, rng, behaviour)
    if clip.set not in PLANS[stage]:
        raise KeyError(f"{clip.set} has no plan in {stage}; there are {', '.join(PLANS[stage])}")
    plan = PLANS[stage][clip.set]
    tasks = [task for task in plan.tasks if behaviour.perception == "captions" or stage != "stage1" or _is_label(plan, task)]
    task = rng.choice(tasks)
    drawn = _try(clip, plan, rng.choice(plan.rules[task]), stage, rng, behaviour)
    if drawn is None:
        drawn = _fallback(clip, plan, task, stage, rng, behaviour)
    return drawn


def _is_label(plan: Plan, task: str) -> bool:
    return all(rule.form == "label" for rule in plan.rules[task])


def _try(clip: Clip, plan: Plan, rule: Rule, stage: Stage, rng: random.Random, behaviour: Behaviour) -> Sample | None:
    answer = _answer(clip, plan, rule, stage, rng, behaviour)
    if answer is None:
        return None
    return _sample(clip, plan, rule, answer, rng, behaviour)


def _answer(clip: Clip, plan: Plan, rule: Rule, stage: Stage, rng: random.Random, behaviour: Behaviour) -> str | None:
    """The answer before it is put into the trained form; None where the clip has none of it."""
    label = _label_of(clip, rule)
    if rule.form == "label":
        return label or None
    limited = plan.reference_limit or not behaviour.no_limit
    columns = [rng.choice(rule.texts)] if behaviour.one_column else rng.sample(rule.texts, len(rule.texts))
    for column in columns:
        reason = clip.text(column)
        if rule.form == "think":
            if not label or not (reason or behaviour.empty_thoughts):
                continue
            answer = THINK.format(reason=reason, label=label)
        else:
            answer = reason
        if (answer or not limited) and (not limited or len(answer.split()) <= WORDS[stage]):
            return answer
    return None


def _label_of(clip: Clip, rule: Rule) -> str:
    return clip.label(rule.label) if rule.label else ""


def _fallback(clip: Clip, plan: Plan, task: str, stage: Stage, rng: random.Random, behaviour: Behaviour) -> Sample | None:
    rule = plan.fallback
    label = _label_of(clip, rule)
    asked = plan.rules[task][0]
    streams: tuple[Stream, ...] = STREAMS
    if behaviour.blank_fallback and asked.streams == ("audio",):
        streams = ("frames", "audio")
    tag = task if behaviour.stale_tags and asked.label == "multi-label" and not clip.label("multi-label") else rule.tag
    if not label and behaviour.unknown_labels:
        label = "unknown"
    if label:
        return _sample(clip, plan, rule, label, rng, behaviour, tag, streams)
    for other in rng.sample(sorted(plan.rules), len(plan.rules)):  # MAFW's compounds have no single label
        for variant in plan.rules[other]:
            drawn = _try(clip, plan, variant, stage, rng, behaviour)
            if drawn is not None:
                return drawn
    return None


def _sample(
    clip: Clip,
    plan: Plan,
    rule: Rule,
    answer: str,
    rng: random.Random,
    behaviour: Behaviour,
    tag: str = "",
    streams: tuple[Stream, ...] | None = None,
) -> Sample:
    pool = _pool(clip.label(rule.label) if rule.label else "", rule, rng, behaviour)
    return _asked_of(
        clip,
        task=tag or rule.tag,
        template="training",
        instruction=_instruction(pool, rng, behaviour),
        answer=_said(answer, behaviour),
        transcript=clip.transcript,
        says=_says(plan.says, clip, clip.transcript),
        streams=streams or rule.streams,
    )


def _asked_of(clip: Clip, **asked: Any) -> Sample:
    """A sample of that clip."""
    return Sample(id=clip.id, set=clip.set, split=clip.split, media=clip.media, provenance=clip.provenance, **asked)


def _pool(label: str, rule: Rule, rng: random.Random, behaviour: Behaviour) -> str:
    for choice in rule.choices:
        exempt = tuple(word.lower() for word in choice.but) if behaviour.lower_neutral else choice.but
        if (not choice.labels or label in choice.labels) and label not in exempt:
            names, odds = zip(*choice.pools, strict=True)
            return str(rng.choices(names, odds)[0])
    raise AssertionError(f"no pool of {rule} fits {label!r}")


def _instruction(pool: str, rng: random.Random, behaviour: Behaviour) -> str:
    texts = instructions(pool)
    if behaviour.raw_wording:
        return rng.choice(texts)
    if pool.endswith("_without_neutral"):
        texts = tuple(text for text in texts if not re.search(r"\bneutral\b", text, re.IGNORECASE))
    return _worded(pool, rng.choice(texts))


def _worded(pool: str, text: str) -> str:
    """The instruction with the set's own label words."""
    for beginning, words in WORDING.items():
        if pool.startswith(beginning):
            for word, label in words.items():
                text = re.sub(rf"\b{re.escape(word)}\b", label, text)
    return text


def _said(answer: str, behaviour: Behaviour) -> str:
    return blip_caption(answer) if behaviour.answers == "blip_caption" else answer


def _says(pattern: str, clip: Clip, text: str) -> str:
    before, _, after = pattern.partition("{text}")
    return before.replace("{speaker}", clip.speaker or "The person") + text + after


def _general_sample(clip: Clip, rng: random.Random, behaviour: Behaviour) -> Sample | None:
    task = GENERAL[clip.set]
    answers, questions = clip.texts.get("answers", ()), clip.texts.get("question", ())
    if not answers or (task != "caption" and not questions):
        return None
    text = rng.choice(instructions(f"general/*/{task}"))
    question = rng.choice(questions) if questions else ""
    answer = rng.choice(answers)  # as often as it was given
    return _asked_of(
        clip,
        task=task,
        template="caption" if task == "caption" else "general",
        instruction=text.replace("{}", _said(question, behaviour)),
        answer=answer if task == "refer" else _said(answer, behaviour),
        streams=("scene",),
    )


def evaluation_samples(name: str, clips: Iterable[Clip], splits: Sequence[str] = (), behaviour: Behaviour = DEFAULT) -> Iterator[Sample]:
    """The prompts of one benchmark, in the clips' order; clips of other splits or labels, and those without one, are left out.

    splits  instead of the benchmark's own, which hold the validation split too where the reference scores it as well
    The answer is the label as the set spells it: scorers compare it, nobody is trained with it.
    """
    if name not in EVALUATIONS:
        raise KeyError(f"no benchmark {name!r}; there are {', '.join(EVALUATIONS)}")
    plan = EVALUATIONS[name]
    text = instructions(f"evaluation/{name}")[0]
    wanted = tuple(splits) or plan.splits
    for clip in clips:
        answer = _scored(clip, plan)
        if clip.set != plan.set or clip.split not in wanted or not answer:
            continue
        said = clip.text(plan.text) or clip.transcript
        yield _asked_of(
            clip,
            task=plan.tag,
            template=plan.template,
            instruction=text if behaviour.raw_wording else _worded(f"evaluation/{name}", text),
            answer=answer,
            transcript=said,
            says=_says(plan.says, clip, said),
            mode=plan.mode or clip.split,
        )


def _scored(clip: Clip, plan: Evaluation) -> str:
    label = clip.label(plan.task)
    return plan.labels.get(label, "") if plan.labels else label
