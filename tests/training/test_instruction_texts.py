"""The published instructions, ratios and prompts stand word for word, with the set's own labels."""

from __future__ import annotations

import hashlib
import itertools
import json
import re

import pytest

pytest.importorskip("pydantic")


from tests.training.instructed import clip, draws
from training.datasets import all_sets, find_set
from training.instructions import (
    _worded,
    blip_caption,
    evaluation_samples,
    prompt_text,
)
from training.instructions_tables import COGNITION, GENERAL, PERCEPTION, PLANS, PROMPTS, RATIOS, WORDING, instructions

# Of the pools as they stand in the reference at 5f0a408.
PUBLISHED_SHA256 = "5705ac6d50f18fdf1cc1c25fb4fc1bc0300bede150018376ce8edbca5c8424c7"


def test_the_published_instructions_stand_word_for_word() -> None:
    """The hash was taken when the pools were read out of the reference's source by its syntax tree."""
    pools = json.loads(PROMPTS.read_text(encoding="utf-8"))["pools"]
    plain = json.dumps(pools, ensure_ascii=False, sort_keys=True)
    assert hashlib.sha256(plain.encode()).hexdigest() == PUBLISHED_SHA256
    assert instructions("stage1/mer2023/emotion")[0] == (
        "Please determine which emotion label in the video represents: happy, sad, neutral, angry, worried, surprise."
    )
    assert [len(instructions(f"stage1/*/{task}")) for task in ("audio", "image")] == [30, 29]
    assert instructions("emotion_llama/*/emotion")[0].endswith("worried, surprise, fear, contempt, doubt.")


def test_every_pool_that_a_plan_names_is_there_and_every_set_has_both_stages() -> None:
    trained = [name for name, dataset in all_sets().items() if dataset.role == "train"]
    for plans in (PERCEPTION, COGNITION):
        assert sorted(plans) == sorted(trained)
        for plan in plans.values():
            rules = [plan.fallback, *itertools.chain.from_iterable(plan.rules.values())]
            assert set(plan.tasks) == set(plan.rules)
            for pool, odds in (pool for rule in rules for choice in rule.choices for pool in choice.pools):
                assert instructions(pool) and 0 < odds <= 1
    assert set(GENERAL) == {name for name, dataset in all_sets().items() if dataset.role == "general"}


def test_ratios_are_the_published_ones() -> None:
    assert (sum(RATIOS["stage1"].values()), sum(RATIOS["stage2"].values())) == (2041, 2237)
    differing = {name for name in RATIOS["stage1"] if RATIOS["stage1"][name] != RATIOS["stage2"][name]}
    assert differing == {"coco_caption", "ok_vqa", "aok_vqa", "gqa", "mc_eiu"}


# Published instructions that speak of labels in other forms ("surprised, fearful") and are let be.
OTHER_FORMS = ("maybe neutral, surprised, fearful", "maybe surprised, fearful", "seem happy, angry, neutral, surprised, fearful")


def test_an_instruction_that_lists_labels_lists_those_of_the_set() -> None:
    """The reference asks for "sad" and scores "sadness"; here only neutral may lack, and only where it is left out on purpose."""
    checked = 0
    for plan_set, plan in [(name, plan) for plans in PLANS.values() for name, plan in plans.items()]:
        tasks_of = {task: space for task, space in find_set(plan_set).tasks.items() if not space.several}
        listing = [rule for rules in plan.rules.values() for rule in rules if rule.form == "label" and rule.label in tasks_of]
        for rule, pool in [(each, pool) for each in listing for choice in each.choices for pool, _ in choice.pools]:
            labels = {label.lower() for label in tasks_of[rule.label].labels}
            for text in instructions(pool):
                if any(form in text for form in OTHER_FORMS) or pool.endswith(("emotion_3", "emotion_4")):
                    continue
                lacking = labels - set(re.findall(r"\w+", _worded(pool, text).lower()))
                assert lacking == set() or (pool.endswith("_without_neutral") and lacking == {"neutral"}), (pool, text, lacking)
                checked += 1
    assert checked > 200
    assert any("sad," in text for text in instructions("stage1/meld/emotion")) and "stage1/meld/emotion" in WORDING


@pytest.mark.parametrize(
    ("written", "trained"),
    [
        ("<think>He shouts!</think><answer>Anger</answer>", "<think>he shouts </think><answer>anger</answer>"),
        ("Doubt/Confusion, Fear", "doubt/confusion, fear"),
        ('A "loud"  (very: loud) voice; #1 ~ *so*.', "a loud very loud voice 1 so"),
        ("it's 50% — yes?\n", "it's 50% — yes?"),
        (" ".join(["word"] * 250), " ".join(["word"] * 200)),
        ("", ""),
    ],
)
def test_answers_are_trained_as_published(written: str, trained: str) -> None:
    assert blip_caption(written) == trained


def test_prompts_are_the_reference_s_to_the_last_space() -> None:
    first = draws(clip("mer2023"), "stage1", count=1)[0]
    assert (
        prompt_text(first)
        == f"[INST] <Vid><VideoHere></Vid> The person in video says: Why not?.  [{first.task}] {first.instruction}  [/INST]"
    )
    second = draws(clip("mer2023"), "stage2", count=1)[0]
    assert prompt_text(second).startswith(f"[INST] <Vid><VideoHere></Vid> The person in video says: Why not?  [{second.task}] ")
    third = draws(clip("e3", speaker="The cook"), "stage2", count=1)[0]
    assert prompt_text(third).startswith(f"[INST] <Vid><VideoHere></Vid> The cook in video says: Why not?.  [{third.task}] ")
    asked = next(evaluation_samples("caer", [clip("caer", split="test")]))
    assert prompt_text(asked).startswith("[INST] <Vid><VideoHere></Vid>  The person in video says: Why not?.  [emotion] You are a helpful")
    assert prompt_text(asked).endswith("come only from this list.  [/INST]")
    chinese = clip("mer2023", split="test1", texts={"chinese": "为什么"})
    asked = next(evaluation_samples("mer2023", [chinese]))
    assert prompt_text(asked).startswith("[INST] <Vid><VideoHere></Vid> The person in video says: 为什么.  [emotion] ")


def test_braces_and_marks_in_a_transcript_are_text() -> None:
    hostile = draws(clip("meld", transcript="{instruction} {0} {task} %s"), "stage1", count=1)[0]
    assert "says: {instruction} {0} {task} %s. " in prompt_text(hostile) and prompt_text(hostile).count(hostile.instruction) == 1
