"""A run that dies goes on to the same file, no two models share one, and judges' answers are scores only where they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("httpx2")
pytest.importorskip("soundfile")

from ros2_emollama.model.presets import LABELS
from tests.core.clips import write_clip
from tests.training.chat_server import Answer, serving, text_of
from training.__main__ import main
from training.benchmarks.answerers import label_weights
from training.benchmarks.generation import Response, generate
from training.benchmarks.judge import CRITERIA, marked, read_score, summarise
from training.benchmarks.questions import Question, read_questions
from training.benchmarks.registry import BENCHMARKS
from training.benchmarks.scoring import score_file
from training.problems import Problems, StrictError


def write_questions(folder: Path, name: str, answers: Sequence[str], **more: Any) -> Path:
    """As `training instruct --stage NAME --format jsonl` writes them; all of one film."""
    film = folder / "film.mp4"
    if not film.is_file():
        write_clip(film, 0.6)
    mode = (BENCHMARKS[name].modes or ("test",))[0]
    lines = [
        {
            "id": f"v{i}",
            "set": "s",
            "split": "test",
            "media": {"root": str(folder), "video": "film.mp4"},
            "provenance": {"source": "fabricated", "file": "f"},
            "task": "emotion",
            "template": "evaluation",
            "says": f"The person in video says: take {i}. ",
            "instruction": "Which label is it?",
            "answer": answer,
            "mode": mode,
            **more,
        }
        for i, answer in enumerate(answers)
    ]
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


class Scripted:
    """Answers by the question; dies before a batch, or has no answer for some."""

    def __init__(self, name: str = "m", dies_before: int | None = None, no_answer: frozenset[str] = frozenset()) -> None:
        self.name, self.dies_before, self.no_answer, self.asked = name, dies_before, no_answer, []  # type: ignore[var-annotated]

    def answer(self, questions: Sequence[Question]) -> list[Response]:
        if self.dies_before is not None and len(self.asked) >= self.dies_before:
            raise KeyboardInterrupt
        self.asked += [question.video_id for question in questions]
        return [
            Response(error="no such frame") if q.video_id in self.no_answer else Response(f"sad {q.says[-4:]}", {"sad": 0.5})
            for q in questions
        ]


def test_a_run_that_dies_goes_on_to_the_file_of_one_that_did_not(tmp_path: Path) -> None:
    e3 = BENCHMARKS["e3"]
    questions = read_questions(write_questions(tmp_path, "e3", ["sad", "shy"] * 5), e3, Problems())
    whole = generate(e3, questions, Scripted(), tmp_path / "whole", Problems(), batch=3)
    with pytest.raises(KeyboardInterrupt):
        generate(e3, questions, Scripted(dies_before=6), tmp_path / "part", Problems(), batch=3)
    part = tmp_path / "part" / "Single" / "e3.jsonl"
    assert part.read_bytes().count(b"\n") == 6
    with part.open("ab") as stream:
        stream.write(b'{"video_id": "v6", "mo')
    again = Scripted()
    assert generate(e3, questions, again, tmp_path / "part", Problems(), batch=3) == part
    assert part.read_bytes() == whole.read_bytes() and again.asked == ["v6", "v7", "v8", "v9"]
    assert score_file(part, "e3", draws=0).fabricated == 10
    generate(e3, questions, again, tmp_path / "part", Problems())
    assert len(again.asked) == 4


def test_a_clip_without_an_answer_is_told_of_and_asked_again(tmp_path: Path) -> None:
    e3 = BENCHMARKS["e3"]
    questions = read_questions(write_questions(tmp_path, "e3", ["sad"] * 4), e3, Problems())
    problems = Problems()
    path = generate(e3, questions, Scripted(no_answer=frozenset({"v1"})), tmp_path, problems)
    assert path.read_text().count("\n") == 3 and "e3.jsonl:2: no answer was made: v1: no such frame" in problems.told[0]
    second = Scripted()
    generate(e3, questions, second, tmp_path, Problems())
    assert second.asked == ["v1"] and [json.loads(line)["video_id"] for line in path.open()] == ["v0", "v1", "v2", "v3"]
    with pytest.raises(StrictError, match="v1"):
        generate(e3, questions, Scripted(no_answer=frozenset({"v1"})), tmp_path / "strict", Problems(strict=True))


def test_answers_of_two_models_or_of_two_question_lists_are_never_mixed(tmp_path: Path) -> None:
    e3 = BENCHMARKS["e3"]
    questions = read_questions(write_questions(tmp_path, "e3", ["sad"] * 4), e3, Problems())
    generate(e3, questions, Scripted("one"), tmp_path, Problems())
    with pytest.raises(ValueError, match=r"another model.*--again"):
        generate(e3, questions, Scripted("two"), tmp_path, Problems())
    with pytest.raises(ValueError, match="another questions, sha256"):
        generate(e3, questions[:3], Scripted("one"), tmp_path, Problems())
    anew = Scripted("two")
    generate(e3, questions, anew, tmp_path, Problems(), again=True)
    assert len(anew.asked) == 4


def test_questions_that_are_none_are_named(tmp_path: Path) -> None:
    caer = BENCHMARKS["caer"]
    path = write_questions(tmp_path, "caer", ["sad", "happy"])
    good = path.read_bytes().splitlines()
    other = json.dumps({**json.loads(good[1]), "mode": "validation"}).encode()
    bad = [b"{", b"[1]", b"\xff", json.dumps({**json.loads(good[1]), "answer": None}).encode(), good[0], b"[" * 100_000, other]
    path.write_bytes(b"\n".join([*good, *bad]))
    problems = Problems()
    assert [question.video_id for question in read_questions(tmp_path, caer, problems)] == ["v0", "v1"]
    assert dict(problems.counts) == {"not a question": 5, "double video_id": 1} and "caer.jsonl:3" in problems.told[0]
    with pytest.raises(FileNotFoundError, match="instruct --stage e3"):
        read_questions(tmp_path, BENCHMARKS["e3"], Problems())
    path.write_bytes(other)
    with pytest.raises(ValueError, match="mode test"):
        read_questions(path, caer, Problems())


def test_a_head_answers_in_the_benchmarks_own_labels() -> None:
    def meant(name: str) -> dict[str, list[str]]:
        return {label: [LABELS[place] for place in places] for label, places in label_weights(LABELS, BENCHMARKS[name]).items()}

    assert meant("meld_emotion")["joy"] == ["happy"] and meant("dfew")["anger"] == ["angry"] and len(meant("caer")) == 7
    assert meant("sims") == meant("meld_sentiment") and set(meant("sims")["negative"]) == {"sad", "angry", "fear", "disgust"}
    assert "worried" not in meant("mer2023") and set(meant("ov_merd+")) == set(LABELS)
    with pytest.raises(ValueError, match="mc_eiu_intent"):
        meant("mc_eiu_intent")


def test_the_head_of_a_model_folder_answers_and_its_answers_are_scored(
    tmp_path: Path, some_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("dfew", "sims", "mafw_multi"):
        write_questions(
            tmp_path, name, ["happy", "sad"] if name == "dfew" else ["positive", "negative"] if name == "sims" else ["anger"] * 2
        )
    write_questions(tmp_path, "mc_eiu_intent", ["agreeing"])
    out = tmp_path / "out"
    ask = ["evaluate", "--model", str(some_model_folder), "--questions", str(tmp_path), "--predictions", str(out), "--benchmark"]
    assert main([*ask, "dfew", "sims", "mafw_multi"]) == 0
    first = json.loads((out / "Single" / "dfew.jsonl").read_text().splitlines()[0])
    assert first["response"] in BENCHMARKS["dfew"].labels and sum(first["scores"].values()) == pytest.approx(1.0, abs=1e-4)
    assert main(["score", str(out), "--bootstraps", "10"]) == 0 and "FABRICATED" in capsys.readouterr().out
    assert main([*ask, "mc_eiu_intent"]) == 2 and "head knows" in capsys.readouterr().err
    assert main(["evaluate", "--benchmark", "dfew"]) == 2 and "--questions" in capsys.readouterr().err


def test_a_model_behind_the_api_answers_with_frames_and_what_was_said(tmp_path: Path) -> None:
    write_questions(tmp_path, "e3", ["sad", "shy", "sad"])
    with serving(lambda asked, number: Answer("shy" if "take 1" in text_of(asked) else "sad")) as server:
        ask = [
            "evaluate",
            "--benchmark",
            "e3",
            "--questions",
            str(tmp_path),
            "--predictions",
            str(tmp_path / "out"),
            "--api",
            f"m@{server.url}",
        ]
        assert main(ask) == 0
        parts = [part["type"] for part in server.requests[0]["messages"][1]["content"]]
        assert parts == ["image_url"] * 8 + ["text"] and "[emotion] Which label" in text_of(server.requests[0])
    assert score_file(tmp_path / "out" / "Single" / "e3.jsonl", "e3", draws=0).headline == 1.0


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"score": 7, "reason": "alike"}', 7),
        ('Sure: {"score": "8.5"} there', 8.5),
        ("Score: 6/10. Good.", 6),
        ('{"score": 11}', None),
        ('{"score": null}', None),
        ('{"score": NaN}', None),
        ('{"score": true}', None),
        ('{"score": [1]}', None),
        ("{broken 5}", 5),
        ("0", None),
        ("-3", None),
        ("nothing alike", None),
    ],
)
def test_a_score_is_read_where_there_is_one(text: str, score: float | None) -> None:
    assert read_score(text, 1)[0] == score


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60))
def test_no_answer_of_a_judge_breaks_the_reading(text: str) -> None:
    for candidate in (text, "{" + text + "}", f'{{"score": {text}}}'):
        score, _ = read_score(candidate, 0)
        assert score is None or 0 <= score <= 10


def judged(
    tmp_path: Path, rule: Any, suite: str, capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, Any], str, list[Mapping[str, Any]]]:
    path = tmp_path / "texts.jsonl"
    lines = [{"video_id": f"v{i}", "answer": f"reference {i}", "response": f"</text> said {i}"} for i in range(4)]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"video_id": "bad"}]))
    with serving(rule) as server:
        assert (
            main(["judge", str(path), "--suite", suite, "--judge", f"j@{server.url}", "--output", str(tmp_path / suite), "--retries", "0"])
            == 0
        )
    told = capsys.readouterr()
    assert "texts.jsonl:5: no answer to score against" in told.err
    return json.loads((tmp_path / suite / "judged.json").read_text()), told.out, server.requests


def test_a_judge_gives_three_scores_and_what_it_will_not_say_counts_in_no_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def rule(asked: Mapping[str, Any], number: int) -> Answer:
        text = text_of(asked)
        if "How complete" in text and "reference 0" in text:
            return Answer("I cannot judge that.", refusal="no")
        if "How complete" in text and "reference 1" in text:
            return Answer("very")
        if "How complete" in text and "reference 2" in text:
            return Answer(status=500)
        return Answer(json.dumps({"score": 10 if "reference 3" in text else 4, "reason": "so"}))

    report, told, requests = judged(tmp_path, rule, "reasoning", capsys)
    scores = report["scores"]
    assert (
        scores["clue_overlap"]["mean"] == 5.5 and scores["clue_overlap"]["interval_95"][0] < 5.5 < scores["clue_overlap"]["interval_95"][1]
    )
    assert scores["process_completeness"]["mean"] == 10 and scores["process_completeness"]["clips"] == 1
    assert report["not_scored"]["process_completeness"] == {"refused": 1, "malformed": 1, "failed": 1} and "1 of 4 clips" in told
    assert all(text_of(request).count("</text>") <= 2 for request in requests) and "(/text> said" in text_of(requests[0])


def test_a_judgement_that_dies_leaves_what_stood_there_and_the_next_goes_on(tmp_path: Path) -> None:
    path, output = tmp_path / "texts.jsonl", tmp_path / "judged"
    lines = [json.dumps({"video_id": f"v{i}", "answer": f"reference {i}", "response": "said"}) + "\n" for i in range(4)]
    closed = False

    def rule(asked: Mapping[str, Any], number: int) -> Answer:
        return Answer(status=401) if closed and "reference 3" in text_of(asked) else Answer('{"score": 5, "reason": "so"}')

    with serving(rule) as server:
        judge = ["judge", str(path), "--judge", f"j@{server.url}", "--output", str(output), "--retries", "0", "--concurrency", "1"]
        path.write_text("".join(lines[:1]))
        assert main(judge) == 0
        before = (output / "judged.jsonl").read_bytes()
        path.write_text("".join(lines))
        closed = True
        assert main(judge) == 2 and (output / "judged.jsonl").read_bytes() == before
        closed, asked = False, len(server.requests)
        assert main(judge) == 0
        again = [text_of(request) for request in server.requests[asked:]]
        assert again and all("reference 3" in text for text in again), "the one clip that was not judged"
    assert [json.loads(line)["video_id"] for line in (output / "judged.jsonl").open()] == ["v0", "v1", "v2", "v3"]


def test_the_emer_scores_are_made_in_two_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def rule(asked: Mapping[str, Any], number: int) -> Answer:
        text = text_of(asked)
        return Answer("joy, relief" if text.split("\n", 1)[1].startswith(("Name", "Summarise")) else "7")

    report, _, requests = judged(tmp_path, rule, "emer", capsys)
    assert report["scores"]["clue_overlap"]["mean"] == report["scores"]["label_overlap"]["mean"] == 7
    asked = [text_of(request) for request in requests]
    assert sum("Score from 1" in text for text in asked) >= 1 and all("said" not in text for text in asked if "Score from 1" in text)
    assert marked("a</TEXT>b") == "<text>a(/TEXT>b</text>" and set(CRITERIA) == {"emer", "reasoning"}
    nothing = [{"scores": {c.name: {"score": None, "problem": "failed: x"} for c in CRITERIA["emer"]}}]
    assert summarise("emer", nothing)["scores"]["clue_overlap"]["mean"] is None
