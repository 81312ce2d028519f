"""Published strings stand word for word, draws have the published odds, the reference's defects are options, every token has its place."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydantic")

from tokenizers import Tokenizer, decoders, models, normalizers, trainers

from training.datasets import all_sets, find_set
from training.instructions import (
    BEHAVIOURS,
    DEFAULT,
    REFERENCE,
    Behaviour,
    _worded,
    blip_caption,
    evaluation_samples,
    prompt_text,
    training_sample,
)
from training.instructions_mixture import Mixture
from training.instructions_shards import key_of, read_shards, read_summary, write_shards
from training.instructions_tables import COGNITION, EVALUATIONS, GENERAL, PERCEPTION, PLANS, PROMPTS, RATIOS, WORDING, instructions
from training.instructions_tokens import NO_LOSS, NO_TOKEN, V2_PREFIX, Tokens, tokenize
from training.records import Clip, Media, Provenance, Sample, write_records

DRAWS = 2000
REASON = "A raised voice and a frown."
# Of the pools as they stand in the reference at 5f0a408.
PUBLISHED_SHA256 = "5705ac6d50f18fdf1cc1c25fb4fc1bc0300bede150018376ce8edbca5c8424c7"


def clip(name: str, labels: dict[str, tuple[str, ...]] | None = None, texts: dict[str, str] | None = None, **more: object) -> Clip:
    """A clip with every text that agents write, unless told otherwise."""
    if labels is None:
        labels = {task: space.labels[: 2 if space.several else 1] or ("happy",) for task, space in find_set(name).tasks.items()}
    if texts is None:
        columns = ("response_AudioReasoner", "response_Qwen2Audio", "response_Qwen25vl_72B")
        texts = dict.fromkeys(
            (*columns, *(f"gpt-4o-mini_{kind}" for kind in ("Emotion", "Sentiment", "Single", "Multi", "intent"))), REASON
        )
    fields: dict[str, object] = {"transcript": "Why not?", "split": "train", **more}
    return Clip(
        id="a",
        set=name,
        media=Media("/data", video="a.mp4", has_audio=True),
        provenance=Provenance("fabricated", "a.csv", 2),
        labels=labels,
        texts={key: (value,) for key, value in texts.items()},
        **fields,  # type: ignore[arg-type]
    )


def draws(made: Clip, stage: str, behaviour: Behaviour = DEFAULT, count: int = DRAWS) -> list[Sample]:
    samples = [training_sample(made, stage, random.Random(f"{seed}"), behaviour) for seed in range(count)]  # type: ignore[arg-type]
    return [sample for sample in samples if sample is not None]


def share(found: list[bool]) -> float:
    return sum(found) / len(found)


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


def test_the_eighteen_benchmarks_ask_for_their_splits_and_labels() -> None:
    assert len(EVALUATIONS) == 18
    for name, plan in EVALUATIONS.items():
        inside, outside = clip(plan.set, split=plan.splits[0]), clip(plan.set, split="train")
        (sample,) = evaluation_samples(name, [outside, inside])
        assert sample.mode == (plan.mode or plan.splits[0]) and sample.task == plan.tag and sample.answer
    excited, fear = (clip("iemocap", {"emotion": (label,)}, split="Session5") for label in ("Excited", "Fear"))
    assert [sample.answer for sample in evaluation_samples("iemocap", [excited, fear])] == ["happiness"]
    assert list(evaluation_samples("mafw_multi", [clip("mafw", {"emotion": ("fear",)}, split="test")])) == []
    assert list(evaluation_samples("meld_emotion", [clip("meld", split="dev")], splits=("test",))) == []


def test_the_scorers_know_the_same_benchmarks_modes_and_labels() -> None:
    registry = pytest.importorskip("training.benchmarks.registry")
    assert set(registry.BENCHMARKS) == set(EVALUATIONS)
    for name, plan in EVALUATIONS.items():
        benchmark = registry.BENCHMARKS[name]
        asked = {plan.mode or split for split in plan.splits}
        assert set(benchmark.modes) <= asked
        for label in find_set(plan.set).tasks[plan.task].labels:
            scored = plan.labels.get(label, "") if plan.labels else label
            assert not scored or not benchmark.labels or benchmark.label(scored.lower())


def many(names: tuple[str, ...], each: int) -> dict[str, list[Clip]]:
    return {name: [dataclasses.replace(clip(name), id=f"c{i}") for i in range(each)] for name in names}


def test_sets_are_drawn_by_their_ratio_and_clips_once_a_pass() -> None:
    mixture = Mixture(many(("meld", "cmu_mosi", "e3"), 7), "stage1")
    samples = [sample for _, sample in itertools.islice(mixture.stream(), DRAWS)]
    counts = Counter(sample.set for sample in samples)
    total = 150 + 45 + 195
    for name, ratio in (("meld", 150), ("cmu_mosi", 45), ("e3", 195)):
        assert counts[name] / DRAWS == pytest.approx(ratio / total, abs=0.04)
    of_meld = [sample.id for sample in samples if sample.set == "meld"]
    passes = [of_meld[start : start + 7] for start in range(0, 70, 7)]
    assert all(sorted(lap) == [f"c{i}" for i in range(7)] for lap in passes) and len({tuple(lap) for lap in passes}) > 5
    with pytest.raises(ValueError, match="the ratios are of"):
        Mixture({"sims": []}, "stage1")


def test_a_stream_goes_on_exactly_and_processes_share_it() -> None:
    clips = many(("meld", "mafw"), 5)
    whole = dict(itertools.islice(Mixture(clips, "stage2").stream(), 60))
    assert dict(itertools.islice(Mixture(clips, "stage2").stream(start=40), 20)) == {n: whole[n] for n in range(40, 60)}
    parts = [dict(itertools.islice(Mixture(clips, "stage2").stream(rank=rank, world=3), 20)) for rank in range(3)]
    assert {number: sample for part in parts for number, sample in part.items()} == whole
    assert dict(itertools.islice(Mixture(clips, "stage2", seed=1).stream(), 60)) != whole


@pytest.fixture(scope="module")
def llama() -> Tokenizer:
    """A tokenizer of LLaMA-2's make: byte fallback, spaces as ▁, one put before every text; <unk>, <s> and </s> are 0, 1 and 2."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False)
    texts = [text for pool in ("stage1/*/audio", "stage2/*/multimodal") for text in instructions(pool)]
    tokenizer.train_from_iterator([*texts, "[INST] <Vid></Vid> The person in video says: [/INST] <think> <answer>"], trainer)
    return tokenizer


def tokens_of(sample: Sample, llama: Tokenizer, **options: object) -> Tokens:
    return tokenize(sample, lambda text: llama.encode(text, add_special_tokens=False).ids, 1, 2, **options)  # type: ignore[arg-type]


def test_every_token_of_a_v2_training_sample_has_its_place(llama: Tokenizer) -> None:
    """<s>, the text before, 64 fusion, 256 scene, 64 frames, 64 audio, the text after, the answer, </s>; loss on the answer alone."""
    sample = next(sample for sample in draws(clip("meld", transcript="Ça va？ 好"), "stage2", count=50) if sample.task == "think")
    got = tokens_of(sample, llama)
    before, after = (llama.encode(text, add_special_tokens=False).ids for text in prompt_text(sample).split("<VideoHere>"))
    answer = [*llama.encode(sample.answer, add_special_tokens=False).ids, 2]
    assert got.ids.tolist() == [1, *before, *[NO_TOKEN] * 448, *after, *answer]
    assert got.labels.tolist() == [NO_LOSS] * got.prompt + answer
    first = 1 + len(before)
    assert {name: (place.start - first, place.stop - first) for name, place in got.slots.items()} == {
        "fusion": (0, 64),
        "scene": (64, 320),
        "frames": (320, 384),
        "audio": (384, 448),
    }
    read = [llama.decode(part, skip_special_tokens=False) for part in (before, after, answer[:-1])]  # bytes are special tokens here
    assert read[0] == "[INST] <Vid>" and read[1].startswith("</Vid> The person in video says: Ça va？ 好  [think]")
    assert read[2] == sample.answer and got.visible.all()
    assert list(got.slots) == ["fusion", "scene", "frames", "audio"] and V2_PREFIX.tokens == 448


def test_a_transcript_cannot_write_special_tokens(llama: Tokenizer) -> None:
    """ "</s>" in a transcript would end the prompt, were it the token: LLaMA's own tokenizer parses it, so the caller's must not."""
    plain = Tokenizer.from_str(llama.to_str())
    plain.encode_special_tokens = True
    sample = draws(clip("meld", transcript="</s><s>[INST]"), "stage1", count=1)[0]
    got = tokenize(sample, lambda text: plain.encode(text, add_special_tokens=False).ids, 1, 2)
    assert Counter(got.ids.tolist())[2] == 1 and got.ids[-1] == 2 and Counter(got.ids.tolist())[1] == 1


def test_absent_streams_are_masked_and_fusion_is_not(llama: Tokenizer) -> None:
    audio = next(sample for sample in draws(clip("meld"), "stage1", count=50) if sample.task == "audio")
    got = tokens_of(audio, llama)
    hidden = {name for name, place in got.slots.items() if not got.visible[place].any()}
    assert hidden == {"scene", "frames"} and got.visible.sum() == len(got.ids) - 320
    assert tokens_of(audio, llama, masked=False).visible.all(), "the reference uses no mask"
    mute = dataclasses.replace(audio, streams=("scene", "frames", "audio"), media=dataclasses.replace(audio.media, has_audio=False))
    got = tokens_of(mute, llama)
    assert not got.visible[got.slots["audio"]].any() and got.visible[got.slots["frames"]].all()


def test_generation_gets_the_prompt_alone_and_long_things_are_told(llama: Tokenizer) -> None:
    asked = next(evaluation_samples("caer", [clip("caer", split="test")]))
    got = tokens_of(asked, llama, with_answer=False)
    assert len(got.ids) == got.prompt and (got.labels == NO_LOSS).all()
    assert tokens_of(asked, llama, double_bos=True).ids[:2].tolist() == [1, 1] and got.ids[:2].tolist() != [1, 1]
    long = dataclasses.replace(draws(clip("meld"), "stage1", count=1)[0], answer="word " * 3000)
    cut = tokens_of(long, llama)
    assert len(cut.ids) - cut.prompt == 1024
    with pytest.raises(ValueError, match=r"meld/a: \d+ tokens of prompt .*shorten the transcript"):
        tokens_of(dataclasses.replace(long, says="word " * 5000), llama)


def shard_samples(folder: Path) -> list[Sample]:
    (folder / "a.mp4").write_bytes(b"not really a film")
    made = dataclasses.replace(clip("meld"), media=Media(str(folder), video="a.mp4", audio="gone.wav"))
    samples = draws(made, "stage1", count=25)
    return [dataclasses.replace(sample, id=f"x-6.{i}/ü") for i, sample in enumerate(samples)]


def test_shards_carry_records_and_media_and_webdataset_reads_them(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    samples = shard_samples(tmp_path)
    shards = write_shards(samples, tmp_path / "shards", per_shard=10)
    assert [shard.samples for shard in shards] == [10, 10, 5] and sum(shard.missing for shard in shards) == 25
    back = list(read_shards(tmp_path / "shards", check=True))
    assert [sample for sample, _ in back] == samples and {tuple(media.items()) for _, media in back} == {(("mp4", b"not really a film"),)}
    assert key_of(3, samples[3]) == "00000003-meld-x-6_3__"


def test_the_same_samples_give_the_same_bytes_and_a_stopped_run_goes_on(tmp_path: Path) -> None:
    samples = shard_samples(tmp_path)
    whole = write_shards(samples, tmp_path / "whole", per_shard=10)

    def stopped() -> object:
        yield from samples[:15]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(stopped(), tmp_path / "parts", per_shard=10)  # type: ignore[arg-type]
    assert len(read_summary(tmp_path / "parts")) == 1
    first = (tmp_path / "parts" / "samples-000000.tar").stat().st_mtime_ns
    assert write_shards(samples, tmp_path / "parts", per_shard=10) == whole
    assert (tmp_path / "parts" / "samples-000000.tar").stat().st_mtime_ns == first, "what stands is not written again"
    with pytest.raises(ValueError, match="holds other samples"):
        write_shards(samples[1:], tmp_path / "parts", per_shard=10)


def test_a_shard_that_was_damaged_is_found(tmp_path: Path) -> None:
    write_shards(shard_samples(tmp_path), tmp_path / "shards", per_shard=10)
    path = tmp_path / "shards" / "samples-000001.tar"
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"samples-000001\.tar is not what was written"):
        next(read_shards(tmp_path / "shards", check=True))


def test_json_lines_hold_the_samples(tmp_path: Path) -> None:
    from training.records import read_records

    samples = draws(clip("bold"), "stage2", count=20)
    assert write_records(tmp_path / "samples.jsonl", samples) == 20
    assert list(read_records(tmp_path / "samples.jsonl", Sample)) == samples


def test_arrays_are_int64_and_bool(llama: Tokenizer) -> None:
    got = tokens_of(draws(clip("meld"), "stage1", count=1)[0], llama)
    assert (got.ids.dtype, got.labels.dtype, got.visible.dtype) == (np.int64, np.int64, np.bool_)
