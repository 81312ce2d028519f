"""Tasks, answers and choices are drawn with the published odds, and the reference's defects are options."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

pytest.importorskip("pydantic")


from tests.training.instructed import DRAWS, REASON, clip, draws, share
from training.instructions import (
    BEHAVIOURS,
    DEFAULT,
    REFERENCE,
    Behaviour,
    blip_caption,
    evaluation_samples,
    prompt_text,
)
from training.instructions_tables import PERCEPTION, PLANS, instructions
from training.records import Clip, Media, Provenance, Sample


@pytest.mark.parametrize("name", PERCEPTION)
@pytest.mark.parametrize("stage", PLANS)
def test_tasks_are_drawn_as_often_as_they_stand_in_the_pool(stage: str, name: str) -> None:
    plan = PLANS[stage][name]
    tags = {task: plan.rules[task][0].tag for task in plan.tasks}
    expected: Counter[str] = Counter()
    for task in plan.tasks:
        expected[tags[task]] += 1
    found = Counter(sample.task for sample in draws(clip(name), stage))
    assert set(found) == set(expected)
    for task, times in expected.items():
        assert found[task] / DRAWS == pytest.approx(times / len(plan.tasks), abs=0.04)


def test_each_task_shows_and_answers_what_it_should() -> None:
    for sample in draws(clip("meld"), "stage1", count=400):
        shown = {"audio": ("audio",), "image": ("scene",)}.get(sample.task, ("scene", "frames", "audio"))
        assert sample.streams == shown
        expected = {"emotion": "neutral", "sentiment": "positive"}.get(sample.task, blip_caption(REASON))
        assert sample.answer == expected
    thoughts = {sample.answer for sample in draws(clip("meld"), "stage2", count=400) if sample.task == "think"}
    said = blip_caption(REASON)
    assert thoughts == {f"<think>{said} </think><answer>{label}</answer>" for label in ("neutral", "positive")}


@pytest.mark.parametrize(
    ("name", "task", "label", "neutral", "odds"),
    [
        ("mer2023", "emotion", "happy", "neutral", 0.5),
        ("mer2023", "think", "happy", "neutral", 0.8),
        ("dfew", "emotion", "happy", "neutral", 0.5),
        ("dfew", "think", "happy", "neutral", 0.5),
        ("cmu_mosi", "sentiment", "Positive", "Neutral", 0.5),
        ("cmu_mosei", "sentiment", "Positive", "Neutral", 0.5),
    ],
)
def test_neutral_is_left_out_of_the_choices_as_often_as_published(name: str, task: str, label: str, neutral: str, odds: float) -> None:
    first = task if task != "think" else "emotion"

    def left_out(word: str, behaviour: Behaviour) -> float:
        # A text that stands in both pools does not tell which was drawn.
        with_it = set(instructions(f"stage2/{name}/{task}" if (name, task) != ("mer2023", "think") else "stage2/*/multimodal"))
        pool = set(instructions(f"stage2/{name}/{task}_without_neutral"))
        samples = draws(clip(name, {first: (word,)}), "stage2", behaviour, 4000)
        told = [s.instruction for s in samples if s.task == task and (s.instruction in pool) != (s.instruction in with_it)]
        return share([text in pool for text in told])

    assert left_out(label, REFERENCE) == pytest.approx(odds, abs=0.05)
    assert left_out(label, DEFAULT) == pytest.approx(odds, abs=0.05)
    assert left_out(neutral, DEFAULT) == 0.0
    assert left_out(neutral, REFERENCE) == pytest.approx(0.5 if neutral == "Neutral" else 0.0, abs=0.05), "its labels begin with a capital"


def test_iemocap_is_asked_with_three_four_or_nine_labels_as_published() -> None:
    def pools(stage: str, label: str) -> dict[str, float]:
        found = [sample.instruction for sample in draws(clip("iemocap", {"emotion": (label,)}), stage) if sample.task == "emotion"]
        names = ("emotion_4", "emotion") if stage == "stage1" else ("emotion_3", "emotion_4", "emotion")
        known = {pool: set(instructions(f"{stage}/iemocap/{pool}")) for pool in names}
        return {pool: share([text in texts for text in found]) for pool, texts in known.items()}

    assert pools("stage1", "Anger") == {"emotion_4": 1.0, "emotion": 0.0}
    assert pools("stage1", "Frustration") == {"emotion_4": 0.0, "emotion": 1.0}
    angry, neutral, excited = (pools("stage2", label) for label in ("Anger", "Neutral", "Excited"))
    assert angry["emotion_3"] == pytest.approx(0.5, abs=0.07) and angry["emotion"] == 0.0
    assert neutral["emotion_4"] == pytest.approx(0.5, abs=0.07) and neutral["emotion_3"] == 0.0
    assert excited == {"emotion_3": 0.0, "emotion_4": 0.0, "emotion": 1.0}


def tasks(samples: list[Sample]) -> set[str]:
    return {sample.task for sample in samples}


def test_a_caption_that_is_missing_or_too_long_falls_back_to_the_label() -> None:
    long = " ".join(["word"] * 121)
    for texts in ({}, dict.fromkeys(("response_AudioReasoner", "response_Qwen2Audio", "response_Qwen25vl_72B"), long)):
        samples = draws(clip("mer2023", texts=texts), "stage1", count=100)
        assert tasks(samples) == {"emotion"} and {sample.streams for sample in samples} == {("scene", "frames", "audio")}
    kept = draws(clip("mer2023", texts={"response_Qwen25vl_72B": " ".join(["word"] * 120)}), "stage1", count=100)
    assert tasks(kept) == {"emotion", "image"}
    assert tasks(draws(clip("mc_eiu", texts={}), "stage1", count=200)) == {"emotion", "intent"}


def test_the_reference_s_defects_are_repeated_only_when_asked_for() -> None:
    bare = clip("mer2023", texts={})
    blank = {sample.streams for sample in draws(bare, "stage1", REFERENCE, 200)}
    assert blank == {("scene", "frames", "audio"), ("frames", "audio")}, "blank_fallback"

    assert "<think></think><answer>happy</answer>" in {sample.answer for sample in draws(bare, "stage2", REFERENCE, 100)}, "empty_thoughts"
    assert not any("<think>" in sample.answer for sample in draws(bare, "stage2", count=100))

    endless = clip("dfew", texts={"gpt-4o-mini_Emotion": " ".join(["word"] * 300)})
    assert "reason" in tasks(draws(endless, "stage2", REFERENCE, 100)), "no_limit"
    assert tasks(draws(endless, "stage2", count=100)) == {"emotion"}

    single = clip("mafw", {"emotion": ("fear",)}, {})
    stale = [s for s in draws(single, "stage1", REFERENCE, 200) if s.task == "multi-label"]
    assert stale and all(sample.instruction in instructions("stage1/mafw/emotion") for sample in stale), "stale_tags"
    assert tasks(draws(single, "stage1", count=200)) == {"emotion"}

    one = clip("mer2023", texts={"response_Qwen2Audio": REASON})
    audio, reference_audio = (share([s.task == "audio" for s in draws(one, "stage1", b)]) for b in (DEFAULT, REFERENCE))
    assert audio == pytest.approx(1 / 3, abs=0.04) and reference_audio == pytest.approx(1 / 6, abs=0.04), "one_column"

    several = clip("mafw", {"multi-label": ("fear", "anger")}, {})
    assert "unknown" in {sample.answer for sample in draws(several, "stage1", REFERENCE, 100)}, "unknown_labels"
    assert {sample.answer for sample in draws(several, "stage1", count=100)} == {"fear,anger"}

    asked = [next(evaluation_samples("dfew", [clip("dfew", split="test")], behaviour=b)).instruction for b in (DEFAULT, REFERENCE)]
    assert "list: anger, disgust" in asked[0] and "list: angry, disgust" in asked[1], "raw_wording"
    assert set(BEHAVIOURS) == {"default", "reference", "labels-only"}
    assert all(getattr(REFERENCE, field.name) is True for field in dataclasses.fields(Behaviour)[2:])


def test_stage_one_can_be_labels_only_and_answers_verbatim() -> None:
    samples = draws(clip("iemocap"), "stage1", Behaviour(answers="verbatim", perception="labels"), 100)
    assert tasks(samples) == {"emotion"} and {sample.answer for sample in samples} == {"Anger"}


def test_a_clip_without_any_label_gives_no_sample() -> None:
    assert draws(clip("meld", {}, {}), "stage1", count=20) == []
    with pytest.raises(KeyError, match="has no plan in stage1"):
        draws(clip("sims"), "stage1", count=1)


def test_a_general_picture_is_asked_as_published() -> None:
    picture = Clip("9", "aok_vqa", "train", Media("/data", image="9.jpg"), Provenance("fabricated", "a.json", 1))
    asked = dataclasses.replace(picture, texts={"question": ("What IS it?",), "answers": ("Cat",) * 7 + ("dog",) * 3})
    samples = draws(asked, "stage1")
    prompts = {prompt_text(sample) for sample in samples}
    assert prompts == {
        "[INST] <Vid><VideoHere></Vid> [vqa] what is it?  [/INST]",
        "[INST] <Vid><VideoHere></Vid> [vqa] Based on the image, respond to this question with a short answer: what is it?  [/INST]",
    }
    assert share([sample.answer == "cat" for sample in samples]) == pytest.approx(0.7, abs=0.04)
    assert {sample.streams for sample in samples} == {("scene",)}
    box = dataclasses.replace(asked, set="refcoco", texts={"question": ("The Man.",), "answers": ("{<1><2><3><4>}",)})
    assert draws(box, "stage1", count=1)[0].answer == "{<1><2><3><4>}" and "the man" in draws(box, "stage1", count=1)[0].instruction
    caption = dataclasses.replace(asked, set="coco_caption", texts={"answers": ("A Cat.",)})
    assert prompt_text(draws(caption, "stage1", count=1)[0]).startswith("[INST] <Vid><VideoHere></Vid> [caption] ")
