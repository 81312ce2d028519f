"""Whatever a server does, a question ends: with an answer, a finding that it is of no use, or an error that says what was tried."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("httpx2")

from tests.training.chat_server import Answer, Server, completion, serving
from training.annotation.chat_api import ApiFailure, ApiUnusable, ChatClient, Endpoint
from training.annotation.pace import Pace, retry_after_seconds
from training.annotation.replies import Reply, read_reply
from training.annotation.reply_cache import ReplyCache
from training.annotation.usage import BudgetSpent, Ledger

KEY = "sk-secret-of-a-test"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TEST_KEY", KEY)
    yield


def ask(
    server: Server, *texts: str, cache: Path | None = None, ledger: Ledger | None = None, again: bool = False, **options: Any
) -> list[Reply]:
    """Ask all at once, as a job does."""

    async def work() -> list[Reply]:
        endpoint = Endpoint(server.url, "m", "TEST_KEY", **{"retries": 3, "timeout_seconds": 5.0, **options})
        async with ChatClient(endpoint, ReplyCache(cache), ledger or Ledger(), first_wait_seconds=0.01, ask_again=again) as client:
            return await asyncio.gather(*(client.ask([{"role": "user", "content": text}], temperature=0) for text in texts or ("hello",)))

    return asyncio.run(work())


def test_a_question_is_put_as_the_api_wants_it_and_is_counted(tmp_path: Path) -> None:
    ledger = Ledger()
    with serving(lambda asked, number: Answer("good day")) as server:
        (reply,) = ask(server, "hello", ledger=ledger, prices=(2.0, 8.0))
        (path, headers), (request,) = server.headers[0], server.requests
    assert reply == Reply("good day", "ok", "m") and path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}" and request["temperature"] == 0 and request["model"] == "m"
    usage = ledger.of("m")
    assert (usage.requests, usage.prompt_tokens, usage.completion_tokens) == (1, 100, 10)
    assert usage.cost == pytest.approx((100 * 2 + 10 * 8) / 1e6)
    ledger.write(tmp_path / "usage.json")
    assert Ledger.read(tmp_path / "usage.json").models == ledger.models


TROUBLE = {
    "429": Answer(status=429, body={"error": {"message": "slow down"}}, headers={"Retry-After": "0"}),
    "500": Answer(status=500, body=b"<html>oops</html>"),
    "503": Answer(status=503, body={"error": "busy"}),
    "garbage": Answer(body=b"\x00\xff not json"),
    "nested": Answer(body=b"[" * 50_000),
    "no choices": Answer(body={"choices": []}),
    "a list": Answer(body=[1, 2]),
    "hangs up": Answer(hang_up=True),
    "too slow": Answer(delay_seconds=1.0),
}


@pytest.mark.parametrize("kind", TROUBLE)
def test_trouble_that_passes_is_waited_out(kind: str) -> None:
    ledger = Ledger()
    with serving(lambda asked, number: TROUBLE[kind] if number < 2 else Answer("at last")) as server:
        (reply,) = ask(server, ledger=ledger, timeout_seconds=0.3)
    assert reply.text == "at last" and ledger.of("m").requests == 3 and ledger.of("m").retries == 2


@pytest.mark.parametrize("kind", TROUBLE)
def test_trouble_that_stays_ends_in_an_error_that_says_what_was_tried(kind: str) -> None:
    ledger = Ledger()
    with serving(lambda asked, number: TROUBLE[kind]) as server, pytest.raises(ApiFailure, match="asked 3 times") as error:
        ask(server, ledger=ledger, timeout_seconds=0.1, retries=2)
    assert server.url in str(error.value) and KEY not in str(error.value) and ledger.of("m").failures == 1


def test_a_question_that_is_wrong_is_not_asked_twice_and_a_wrong_key_stops_all() -> None:
    for status, kind in (
        (400, ApiFailure),
        (413, ApiFailure),
        (422, ApiFailure),
        (401, ApiUnusable),
        (403, ApiUnusable),
        (404, ApiUnusable),
    ):
        with serving(lambda asked, number, status=status: Answer(status=status, body={"error": {"message": "no"}})) as server:
            with pytest.raises(kind, match=f"status {status}: no"):
                ask(server)
            assert len(server.requests) == 1
    spent = Answer(status=429, body={"error": {"message": "quota", "code": "insufficient_quota"}})
    with serving(lambda asked, number: spent) as server, pytest.raises(ApiUnusable, match="TEST_KEY"):
        ask(server)


def test_nobody_is_there_to_ask() -> None:
    with serving(lambda asked, number: Answer()) as server:
        pass
    with pytest.raises(ApiFailure, match="asked 2 times"):
        ask(server, retries=1)


def test_retry_after_holds_everybody_back() -> None:
    slow = Answer(status=429, body={}, headers={"Retry-After": "0.4"})
    with serving(lambda asked, number: slow if number == 0 else Answer()) as server:

        async def work() -> float:
            endpoint = Endpoint(server.url, "m", "TEST_KEY", retries=2, concurrency=2)
            async with ChatClient(endpoint, ReplyCache(None), Ledger(), first_wait_seconds=0.001) as client:
                first = asyncio.create_task(client.ask([{"role": "user", "content": "a"}]))
                await asyncio.sleep(0.15)
                before = asyncio.get_running_loop().time()
                await client.ask([{"role": "user", "content": "b"}])
                waited = asyncio.get_running_loop().time() - before
                await first
                return waited

        assert asyncio.run(work()) > 0.1 and len(server.requests) == 3
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert retry_after_seconds("Thu, 01 Jan 2026 00:00:30 GMT", now) == 30 and retry_after_seconds("-5") == 0
    assert retry_after_seconds("soon") is None and retry_after_seconds("nan") is None and retry_after_seconds(None) is None


def test_no_more_are_under_way_than_allowed() -> None:
    with serving(lambda asked, number: Answer(delay_seconds=0.03)) as server:
        assert len(ask(server, *map(str, range(20)), concurrency=3)) == 20
        assert server.most_at_once == 3


def test_requests_and_tokens_a_minute_are_kept() -> None:
    clock = [0.0]

    async def sleep(seconds: float) -> None:
        clock[0] += seconds

    async def times(pace: Pace, tokens: int, count: int, counted: int | None = None) -> list[float]:
        started = []
        for _ in range(count):
            await pace.take(tokens)
            started.append(round(clock[0], 6))
            if counted is not None:
                pace.counted(tokens, counted)
        return started

    assert asyncio.run(times(Pace(30, 0, lambda: clock[0], sleep), 5, 4)) == [0, 2, 4, 6]
    clock[0] = 0.0
    assert asyncio.run(times(Pace(0, 600, lambda: clock[0], sleep), 50, 3)) == [0, 5, 10]
    clock[0] = 0.0
    assert asyncio.run(times(Pace(0, 600, lambda: clock[0], sleep), 50, 3, counted=20)) == [0, 2, 4]


def test_the_same_question_is_paid_for_once_and_another_is_asked(tmp_path: Path) -> None:
    ledger = Ledger()
    with serving(lambda asked, number: Answer(f"answer {number}")) as server:
        assert [r.text for r in ask(server, "one", cache=tmp_path, ledger=ledger)] == ["answer 0"]
        (again,) = ask(server, "one", cache=tmp_path, ledger=ledger)
        assert again.text == "answer 0" and again.cached
        assert ask(server, "two", cache=tmp_path, ledger=ledger)[0].text == "answer 1"
    assert ledger.of("m").requests == 2 and ledger.of("m").cached == 1
    (held, other) = sorted(tmp_path.rglob("*.json"))
    for path in (held, other):
        assert KEY not in path.read_text()
        path.write_text("{")
    with serving(lambda asked, number: Answer("anew")) as damaged:
        assert ask(damaged, "one", cache=tmp_path)[0].text == "anew"


def test_media_are_kept_as_their_hash_alone(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path)
    picture = "data:image/jpeg;base64," + "A" * 100_000
    payload = {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": "why"}]}]
    }
    cache.put("ab" * 32, payload, {"choices": []})
    (path,) = tmp_path.rglob("*.json")
    assert path.stat().st_size < 2000 and "sha256:" in path.read_text() and "why" in path.read_text()


REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I cannot identify people's emotions.",
    "Sorry, I can't assist.",
    "As an AI, I do not see.",
]
ANSWERS = [
    "The person is sorry for what was said.",
    "I can see a raised brow.",
    "Sorrow is in the voice.",
    "I cannot find a smile; the brow is low.",
]


def test_refusals_and_answers_of_no_use_are_kept_and_counted(tmp_path: Path) -> None:
    odd = [
        (Answer(refusal="not that", text=""), "refused"),
        (Answer("half", finish_reason="content_filter"), "refused"),
        *((Answer(text), "refused") for text in REFUSALS),
        *((Answer(text), "ok") for text in ANSWERS),
        (Answer("cut", finish_reason="length"), "cut_short"),
        (Answer("  "), "malformed"),
        (Answer(body={"choices": [{}]}), "malformed"),
        (Answer(body={"choices": [{"message": {"content": 7}}]}), "malformed"),
        (Answer(body={"choices": ["text"]}), "malformed"),
        (Answer(body={"choices": [{"message": {"content": [{"type": "text", "text": "parts"}]}}]}), "ok"),
    ]
    ledger = Ledger()
    with serving(lambda asked, number: odd[int(asked["messages"][0]["content"])][0]) as server:
        replies = ask(server, *map(str, range(len(odd))), ledger=ledger, cache=tmp_path)
    assert [reply.status for reply in replies] == [status for _, status in odd]
    usage = ledger.of("m")
    assert (usage.refusals, usage.malformed, usage.cut_short) == (6, 4, 1) and "6 refusals" in ledger.summary()
    with serving(lambda asked, number: Answer("I see a smile")) as server:
        assert ask(server, "0", cache=tmp_path)[0].status == "ok"  # another server is another question
    with serving(lambda asked, number: Answer(refusal="no", text="") if number == 0 else Answer("yes")) as server:
        assert [ask(server, "0", cache=tmp_path, again=again)[0].status for again in (False, False, True, True)] == [
            "refused",
            "refused",
            "ok",
            "ok",
        ]


def test_a_budget_ends_the_job_before_the_next_question() -> None:
    ledger = Ledger(budget=1e-4)
    with serving(lambda asked, number: Answer()) as server, pytest.raises(BudgetSpent, match="--budget"):
        ask(server, *map(str, range(10)), ledger=ledger, prices=(1.0, 0.0), concurrency=1)
    assert len(server.requests) == 1


@pytest.mark.parametrize("url", ["", "host/v1", "ftp://host/v1", "https://user:pw@host/v1", "http://host:0/v1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base URL"):
        Endpoint(url, "m")


def test_the_key_comes_from_the_environment_and_local_servers_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY")
    with serving(lambda asked, number: Answer()) as server:
        ask(server)
        assert "Authorization" not in server.headers[0][1]
    with pytest.raises(ApiUnusable, match="TEST_KEY"):
        Endpoint("https://example.invalid/v1", "m", "TEST_KEY").key()
    monkeypatch.setenv("TEST_KEY", "sk two\nlines")
    with pytest.raises(ApiUnusable, match="spaces") as error:
        Endpoint("https://example.invalid/v1", "m", "TEST_KEY").key()
    assert "two" not in str(error.value)


@settings(max_examples=100, deadline=None)
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda p: st.lists(p, max_size=3) | st.dictionaries(st.text(max_size=5), p, max_size=3),
        max_leaves=8,
    )
)
def test_no_body_breaks_the_reader_of_replies(body: object) -> None:
    for wrapped in (
        {"choices": body},
        {"choices": [body]},
        {"choices": [{"message": body}]},
        {"choices": [{"message": {"content": body}}]},
    ):
        assert read_reply(wrapped, "m").status in ("ok", "refused", "malformed", "cut_short")
    assert json.dumps(completion(Answer()))
