"""Scorers give the published figures of a prediction, agree with scikit-learn, and no line of a file breaks them."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

metrics_of = pytest.importorskip("sklearn.metrics")
pytest.importorskip("openpyxl")

from training.__main__ import main  # noqa: E402
from training.benchmarks.answers import final_answer, split_labels  # noqa: E402
from training.benchmarks.metrics import OUTSIDE, average_precision, bootstrap_weights, multi_label, single_label  # noqa: E402
from training.benchmarks.registry import BENCHMARKS, GROUPS, PUBLISHED_AVERAGES, find_benchmark  # noqa: E402
from training.benchmarks.scoring import AVERAGES, averages, score_file  # noqa: E402
from training.benchmarks.tables import FABRICATED, latex, markdown  # noqa: E402
from training.benchmarks.wheels import Wheels, parse_words, read_wheels  # noqa: E402
from training.problems import StrictError  # noqa: E402

WHEELS = Path(os.environ.get("DATA", "../shared/data")) / "emotion_wheel"
GOLDEN = {  # what the official tables make of a word, wheels 1 to 5
    "happy happiness joy joyful": "happy happy joyful joy powerful",
    "sad sadness": "sad sad sad sad sad",
    "angry anger": "mad angry mad anger mad",
    "worried worry anxiety nervous concern scared fearful": "scared fearful scared fear scared",
    "fear": "scared happy joyful genius joyful",
    "surprise surprised": "surprised surprised powerful fear -",
    "disgust disgusted": "disgusted disgusted - disgust -",
    "contempt": "- angry - - -",
    "helplessness": "sad fearful scared - scared",
    "disappointment": "sad sad scared sad scared",
    "excited excitement": "surprised happy joyful genius joyful",
    "frustration": "sad sad mad sad mad",
    "calm": "happy happy peaceful joy peaceful",
    "confused": "surprised surprised scared sad scared",
    "serious": "- - - sad -",
    "neutral": "- - - - -",
}
# A stand-in where MERTools' tables are not at hand: two wheels that know few words.
SMALL = Wheels(
    {"glad": ("happy",), "happy": ("happy",), "sad": ("sad",), "gloomy": ("sad",), "afraid": ("fear",)},
    {"happy": ("happy",), "sad": ("sad",), "fear": ("fear",)},
    ({"happy": "joy", "sad": "grief", "fear": "fear"}, {"happy": "joy", "sad": "grief"}),
)


@pytest.fixture(scope="module")
def wheels() -> Wheels:
    if not (WHEELS / "synonym.xlsx").is_file():
        pytest.skip(f"no {WHEELS}")
    return read_wheels(WHEELS)


def write(path: Path, lines: Iterable[Mapping[str, object] | bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines) + b"\n")
    return path


def lines_of(name: str, pairs: Iterable[tuple[str, str]], **more: object) -> list[dict[str, object]]:
    mode = (BENCHMARKS[name].modes or ("test",))[0]
    return [
        {"video_id": f"v{i}", "mode": mode, "answer": answer, "response": response, **more} for i, (answer, response) in enumerate(pairs)
    ]


def figures(path: Path, name: str, wheels: Wheels | None = SMALL, **options: object) -> dict[str, float]:
    return dict(score_file(path, name, wheels, **{"draws": 0, **options}).figures)  # type: ignore[arg-type]


def test_there_are_eighteen_and_nine_of_them_are_uni_bench() -> None:
    assert len(BENCHMARKS) == len(AVERAGES["Avg-18"]) == 18 and len(AVERAGES["Avg-9"]) == 9
    assert {group: sum(b.group == group for b in BENCHMARKS.values()) for group in GROUPS} == {
        "MERUniBench-ht": 5,
        "MERUniBench-nn": 4,
        "Multi": 2,
        "Single": 7,
    }
    for method in ("Emotion-LLaMA", "AffectGPT"):  # the published mean is the mean of the published figures
        mean = np.mean([BENCHMARKS[name].published[method] for name in AVERAGES["Avg-9"]])
        assert mean == pytest.approx(PUBLISHED_AVERAGES["Avg-9"][method], abs=0.005 + 1e-9)
    with pytest.raises(KeyError, match="did you mean 'cmu_mosi'"):
        find_benchmark("cmu_mossi")


def test_the_wheels_have_the_sizes_and_map_the_golden_words(wheels: Wheels) -> None:
    assert len(set().union(*wheels.hubs)) == 253
    assert len(wheels.on_wheels) == 1255 and len(wheels.bases) == 7386
    for words, hubs in GOLDEN.items():
        for word in words.split():
            assert wheels.hub(word) == tuple(hub.strip("-") for hub in hubs.split()), word
    assert wheels.hub("no such word") == ("",) * 5


def test_a_folder_without_the_tables_is_told_where_they_are_from(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="MERTools"):
        read_wheels(tmp_path)


def test_words_are_found_in_every_way_models_write_lists() -> None:
    for text in ("[happy, sad]", "'happy', \"sad\"", "['happy','sad']", "Happy ; SAD", "happy\nsad", " happy,,sad, "):
        assert parse_words(text) == ["happy", "sad"], text
    assert parse_words("happy; sad", reference=True) == ["happy; sad"] and parse_words("[]") == parse_words("") == []


def test_the_hit_rate_is_that_of_a_count_by_hand(tmp_path: Path) -> None:
    pairs = [("happy", "glad, afraid"), ("sad", "glad"), ("neutral", "glad"), ("happy", "nothing"), ("sad", "[gloomy]")]
    found = figures(write(tmp_path / "mer2023.jsonl", lines_of("mer2023", pairs)), "mer2023")
    # Neutral has no place on a wheel and is passed over. "afraid" is among no truth, so it costs the M-score nothing.
    assert found["hit_rate"] == pytest.approx(2 / 4) and found["m_score"] == pytest.approx(2 / 4)
    both = figures(write(tmp_path / "both.jsonl", lines_of("mer2023", [("happy", "glad, sad"), ("sad", "sad")])), "mer2023")
    assert both["hit_rate"] == 1.0 and both["m_score"] == pytest.approx(0.75)


def test_the_open_set_score_is_that_of_a_count_by_hand(tmp_path: Path) -> None:
    pairs = [("['happy', 'sad']", "glad, afraid"), ("afraid", "afraid"), ("sad", "")]
    found = figures(write(tmp_path / "ov_merd+.jsonl", lines_of("ov_merd+", pairs)), "ov_merd+")
    first = (np.mean([1 / 2, 1, 0]), np.mean([1 / 2, 1, 0]))  # wheel 1 knows fear,
    second = (np.mean([1, 0]), np.mean([1 / 2, 0]))  # wheel 2 does not, and passes the second clip over
    f = [2 * p * r / (p + r) for p, r in (first, second)]
    assert found["f_score"] == pytest.approx(np.mean(f)) and found["recall"] == pytest.approx(np.mean([first[1], second[1]]))


def test_neutral_truths_are_dropped_and_neutral_answers_are_wrong(tmp_path: Path) -> None:
    pairs = [
        ("Positive", "positive"),
        ("negative", "neutral"),
        ("neutral", "positive"),
        ("negative", "NEGATIVE "),
        ("positive", "negative"),
    ]
    score = score_file(write(tmp_path / "sims.jsonl", lines_of("sims", pairs)), "sims", draws=0)
    assert score.clips == 4 and score.lines == 5 and score.notes["neutral truths dropped"] == 1
    expected = metrics_of.f1_score(["p", "n", "n", "p"], ["p", "0", "n", "n"], average="weighted")
    assert score.figures["accuracy"] == 0.5 and score.headline == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(20))
def test_one_label_agrees_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, clips = int(rng.integers(1, 9)), int(rng.integers(1, 60))
    truth = rng.integers(0, labels, clips)
    said = np.where(rng.random(clips) < 0.5, truth, rng.integers(OUTSIDE, labels, clips))
    times = rng.integers(0, 3, clips)
    times[0] = 1
    for weight in (np.ones(clips), times):
        found = {name: float(value[0]) for name, value in single_label(truth, said, labels, weight[None].astype(float)).items()}
        repeated, answers = np.repeat(truth, weight.astype(int)), np.repeat(said, weight.astype(int))
        assert found["accuracy"] == found["war"] == pytest.approx(metrics_of.accuracy_score(repeated, answers))
        assert found["weighted_f1"] == pytest.approx(metrics_of.f1_score(repeated, answers, average="weighted", zero_division=0))
        occurring = np.unique(repeated)
        expected = metrics_of.recall_score(repeated, answers, labels=occurring, average="macro", zero_division=0)
        assert found["uar"] == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:No positive class")
@pytest.mark.parametrize("seed", range(20))
def test_several_labels_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random((int(rng.integers(2, 50)), int(rng.integers(2, 8)))) < 0.4
    truth[0] = True  # every label occurs, as it does when labels are those of the truths
    said = np.where(rng.random(truth.shape) < 0.6, truth, ~truth)
    scores = np.round(rng.random(truth.shape), 1)  # rounded: scores that are equal must be one step
    ones = np.ones((1, len(truth)))
    for ranked in (None, scores):
        found = {name: float(value[0]) for name, value in multi_label(truth, said, ranked, ones).items()}
        assert found["micro_f1"] == pytest.approx(metrics_of.f1_score(truth, said, average="micro", zero_division=0))
        assert found["samples_f1"] == pytest.approx(metrics_of.f1_score(truth, said, average="samples", zero_division=0))
        expected = metrics_of.average_precision_score(truth, said.astype(float) if ranked is None else ranked, average="macro")
        assert found["mean_average_precision"] == pytest.approx(expected)
    some = truth[:, 0] | said[:, 0]
    if some.any():
        jaccard = multi_label(truth[:, :1][some], said[:, :1][some], None, np.ones((1, int(some.sum()))))["jaccard"]
        assert float(jaccard[0]) == pytest.approx(metrics_of.jaccard_score(truth[:, 0], said[:, 0]), abs=2e-6)
    times = rng.integers(0, 3, len(truth)).astype(float)
    times[0] = 1.0
    expected = metrics_of.average_precision_score(truth[:, 0], scores[:, 0], sample_weight=times)
    assert float(average_precision(truth[:, 0], scores[:, 0], times[None])[0]) == pytest.approx(expected)


def test_a_label_is_its_forms_and_nothing_else(tmp_path: Path) -> None:
    pairs = [("anger", "Angry."), ("Happy", "happiness"), ("sad", "<think>happy?</think><answer>sadness</answer>"), ("fear", "fear or sad")]
    path = write(tmp_path / "dfew.jsonl", lines_of("dfew", pairs))
    score = score_file(path, "dfew", draws=0)
    assert score.figures["accuracy"] == 0.75 and score.notes["answers outside the label set"] == 1
    reference = score_file(path, "dfew", draws=0, reference=True)
    assert reference.figures["accuracy"] == 0.0 and reference.clips == 4
    assert final_answer("a <answer>sad") == "sad" and final_answer("sad</s>") == "sad" and final_answer("<answer></answer>") == ""
    assert split_labels("Anger; fear ,\nsadness,") == ["anger", "fear", "sadness"]


def test_the_response_that_was_put_right_counts(tmp_path: Path) -> None:
    lines = [{**line, "new_response": "fear"} for line in lines_of("caer", [("fear", "I think it is fear")])]
    assert figures(write(tmp_path / "caer.jsonl", lines), "caer")["accuracy"] == 1.0


def test_scores_rank_where_every_line_has_them(tmp_path: Path) -> None:
    lines = lines_of("mafw_multi", [("anger", ""), ("fear, anger", ""), ("fear", "")])
    for line, scores in zip(lines, ({"anger": 0.9, "fear": 0.2}, {"Anger": 0.8, "fear": 0.7}, {"fear": 0.5}), strict=True):
        line["scores"] = scores
    score = score_file(write(tmp_path / "mafw_multi.jsonl", lines), "mafw_multi", draws=0)
    assert score.headline == 1.0 and score.figures["micro_f1"] == 0.0
    lines[0]["scores"] = {"anger": float("nan")}
    without = score_file(write(tmp_path / "again.jsonl", lines), "mafw_multi", draws=0)
    assert without.headline < 1.0 and without.problems.counts["scores that are no numbers"] == 1


BAD = [
    (b"{", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b"\xff\xfe{}", "not UTF-8"),
    (b"[1]", "not a JSON object"),
    (b'{"mode": "test", "answer": "sad", "response": "sad"}', "no video_id"),
    (b'{"video_id": "x", "mode": "test", "response": "sad"}', "no answer to score against"),
    (b'{"video_id": "x", "mode": "test", "answer": NaN, "response": "sad"}', "no answer to score against"),
    (b'{"video_id": "x", "mode": "test", "answer": "sad", "response": null}', "no response"),
    (b'{"video_id": "x", "mode": "test", "answer": "sad", "error": "no such clip"}', "no answer was made"),
    (b'{"video_id": "x", "mode": "test", "answer": "hungry", "response": "sad"}', "truth outside the label set"),
    (b'{"video_id": "v0", "mode": "test", "answer": "sad", "response": "sad"}', "double video_id"),
]


@pytest.mark.parametrize(("line", "kind"), BAD, ids=[kind for _, kind in BAD])
def test_a_bad_line_is_named_with_its_file_and_row(tmp_path: Path, line: bytes, kind: str) -> None:
    good = [json.dumps(item).encode() for item in lines_of("e3", [("sad", "sad"), ("shy", "sad")])]
    path = write(tmp_path / "e3.jsonl", [good[0], b"", line, good[1]])
    score = score_file(path, "e3", draws=0)
    assert dict(score.problems.counts) == {kind: 1} and f"{path}:3: {kind}" in score.problems.told[0]
    assert score.clips == 2 and score.figures["accuracy"] == 0.5
    with pytest.raises(StrictError, match=r"e3\.jsonl:3"):
        score_file(path, "e3", draws=0, strict=True)


def test_other_modes_are_left_out_and_a_file_of_them_alone_says_so(tmp_path: Path) -> None:
    lines = lines_of("mer2023", [("sad", "sad"), ("happy", "sad")])
    path = write(tmp_path / "mer2023.jsonl", [lines[0], {**lines[1], "mode": "test2"}])
    score = score_file(path, "mer2023", SMALL, draws=0)
    assert score.headline == 1.0 and score.notes["lines of other modes"] == 1
    with pytest.raises(ValueError, match="'train'"):
        score_file(write(tmp_path / "wrong.jsonl", [{**lines[0], "mode": "train"}]), "mer2023", SMALL)
    with pytest.raises(FileNotFoundError, match="evaluate"):
        score_file(tmp_path / "none.jsonl", "mer2023", SMALL)


def test_the_interval_holds_the_figure_and_draws_speakers_whole(tmp_path: Path) -> None:
    rng = random.Random(0)
    pairs = [("sad", "sad" if i % 4 else "shy") for i in range(200)]
    alone = score_file(write(tmp_path / "e3.jsonl", lines_of("e3", pairs)), "e3")
    low, high = alone.intervals["accuracy"]
    assert low < 0.75 < high and high - low == pytest.approx(2 * 1.96 * (0.75 * 0.25 / 200) ** 0.5, rel=0.15)
    # Ten speakers, of whom some are always right: 200 clips, but only ten that are independent.
    lines = [
        {**line, "speaker": f"s{i // 20}"}
        for i, line in enumerate(lines_of("e3", [("sad", "sad" if i // 20 % 4 else "shy") for i in range(200)]))
    ]
    rng.shuffle(lines)
    together = score_file(write(tmp_path / "speakers.jsonl", lines), "e3")
    assert together.interval_over == "10 speakers"
    assert together.intervals["accuracy"][1] - together.intervals["accuracy"][0] > 3 * (high - low)
    assert score_file(tmp_path / "e3.jsonl", "e3").intervals == alone.intervals
    weights = bootstrap_weights(np.array([0, 0, 1]), 50, np.random.default_rng(0))
    assert (weights[:, 0] == weights[:, 1]).all() and set(weights[:, 0] + weights[:, 2]) == {2.0}


def all_eighteen(root: Path, fabricated: bool) -> Path:
    rng = random.Random(0)
    more = {"provenance": {"fabricated": True}} if fabricated else {}
    for name, benchmark in BENCHMARKS.items():
        labels = ["happy", "sad"] if benchmark.kind in ("hit", "overlap") else list(benchmark.labels)
        pairs = [(rng.choice(labels), rng.choice(labels)) for _ in range(30)]
        write(root / benchmark.group / f"{name}.jsonl", lines_of(name, pairs, **more))
    return root


def test_averages_are_means_of_headlines_and_wait_for_the_last(tmp_path: Path) -> None:
    all_eighteen(tmp_path, fabricated=False)
    scores = {b.name: score_file(tmp_path / b.group / f"{b.name}.jsonl", b.name, SMALL, draws=50) for b in BENCHMARKS.values()}
    nine, eighteen = averages(scores)
    assert eighteen.value == pytest.approx(np.mean([score.headline for score in scores.values()])) and not eighteen.missing
    assert eighteen.interval[0] < eighteen.value < eighteen.interval[1]
    del scores["bold"]
    nine_again, without = averages(scores)
    assert nine_again == nine and without.missing == ("bold",) and np.isnan(without.value)
    assert "without bold" in markdown(scores)


def test_fabricated_figures_cannot_be_taken_for_real_ones(tmp_path: Path) -> None:
    for fabricated in (True, False):
        root = all_eighteen(tmp_path / str(fabricated), fabricated)
        scores = {b.name: score_file(root / b.group / f"{b.name}.jsonl", b.name, SMALL, draws=20) for b in BENCHMARKS.values()}
        text, tex = markdown(scores, "tiny"), latex(scores, "tiny")
        assert (FABRICATED in text) == (FABRICATED in tex) == fabricated
        rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
        assert len(rows) == 20 and all(("(fabricated)" in row) == fabricated for row in rows)
        assert tex.count(r"\\") == 20 + 1 + fabricated and tex.count("fabricated}") == 20 * fabricated
        assert "78.54" in text and "66.63" in tex


def test_the_command_scores_a_folder_and_writes_its_tables(tmp_path: Path, wheels: Wheels, capsys: pytest.CaptureFixture[str]) -> None:
    root = all_eighteen(tmp_path / "predictions", fabricated=True)
    out = {kind: tmp_path / "out" / f"table.{kind}" for kind in ("json", "markdown", "latex")}
    ask = [
        "score",
        str(root),
        "--wheels",
        str(WHEELS),
        "--bootstraps",
        "30",
        *(part for kind, path in out.items() for part in (f"--{kind}", str(path))),
    ]
    assert main(ask) == 0
    record = json.loads(out["json"].read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert len(record["scores"]) == 18 and record["averages"]["Avg-18"]["value"] is not None
    assert FABRICATED in capsys.readouterr().out and "booktabs" not in out["latex"].read_text() and r"\toprule" in out["latex"].read_text()


def test_the_command_names_what_is_wrong_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "mine.jsonl", [*lines_of("e3", [("sad", "sad")]), b"{"])
    assert main(["score", str(path)]) == 2 and "--benchmark" in capsys.readouterr().err
    assert main(["score", str(path), "--benchmark", "e3", "--bootstraps", "0"]) == 0
    assert "mine.jsonl:2: not JSON" in capsys.readouterr().err
    assert main(["score", str(path), "--benchmark", "e3", "--strict"]) == 2 and "mine.jsonl:2" in capsys.readouterr().err
    assert main(["score", str(tmp_path)]) == 2 and "MERUniBench-ht/mer2023.jsonl" in capsys.readouterr().err
    hit = write(tmp_path / "mer2023.jsonl", lines_of("mer2023", [("sad", "sad")]))
    assert main(["score", str(hit), "--wheels", str(tmp_path)]) == 2 and "MERTools" in capsys.readouterr().err


NASTY = st.one_of(
    st.text(max_size=40), st.sampled_from(["", "neutral", "happy, sad", "[", "]", "<answer>", ";,;", "\x00", "a" * 5000, "ſad", "İ"])
)


def test_a_truth_of_two_words_is_hit_once(tmp_path: Path) -> None:
    path = write(tmp_path / "mer2023.jsonl", lines_of("mer2023", [("happy,sad", "happy,sad")]))
    assert score_file(path, "mer2023", SMALL, draws=3).figures["hit_rate"] == 1.0


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(list(BENCHMARKS)))
def test_no_text_breaks_a_scorer(tmp_path: Path, data: st.DataObject, name: str) -> None:
    labels = BENCHMARKS[name].labels or ("happy", "sad", "afraid")
    answers = st.one_of(st.sampled_from(labels), NASTY)
    pairs = [(labels[-1], labels[-1]), *data.draw(st.lists(st.tuples(answers, NASTY), max_size=5))]
    if BENCHMARKS[name].kind == "polarity":
        pairs[0] = ("positive", "negative")
    path = write(tmp_path / f"{name}.jsonl", lines_of(name, pairs))
    score = score_file(path, name, SMALL, draws=3, reference=data.draw(st.booleans()))
    assert all(np.isnan(value) or 0 <= value <= 1 for value in score.figures.values())
    json.dumps(score.record(), allow_nan=False)
    assert markdown({name: score}).encode(errors="backslashreplace") and latex({name: score})


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9), lambda parts: st.lists(parts, max_size=3), max_leaves=5
    )
)
def test_no_json_breaks_the_reader(tmp_path: Path, value: object) -> None:
    good = lines_of("e3", [("sad", "sad")])
    bad = [
        {**good[0], "video_id": "other", key: value}
        for key in ("video_id", "mode", "answer", "response", "new_response", "scores", "speaker")
    ]
    assert score_file(write(tmp_path / "e3.jsonl", [*good, *bad]), "e3", draws=0).clips >= 1


def test_ten_thousand_random_predictions_break_no_scorer(tmp_path: Path) -> None:
    rng = random.Random(7)
    letters = "abcdefghijklmnop ,;'\"[]<>/\\\n\t{}éß漢😀\x00"
    words = ["happy", "sad", "afraid", "<answer>", "</answer>", "neutral", "positive", "anger; fear", "Doubt/Confusion"]

    def response() -> str:
        if rng.random() < 0.5:
            return "".join(rng.choices(letters, k=rng.randrange(30)))
        return rng.choice([", ", " ", ";", ""]).join(rng.choices(words, k=rng.randrange(5)))

    counted = 0
    for name, benchmark in BENCHMARKS.items():
        on_wheels = benchmark.kind in ("hit", "overlap")
        labels = ["happy", "sad", "glad"] if on_wheels else [label for label in benchmark.labels if label != "neutral"]
        path = write(tmp_path / f"{name}.jsonl", lines_of(name, [(rng.choice(labels), response()) for _ in range(10_000 // 18 + 1)]))
        score = score_file(path, name, SMALL, draws=5)
        counted += score.lines
        assert all(0 <= value <= 1 for value in score.figures.values()) and not score.problems.total
    assert counted >= 10_000
