"""One question to a model behind the OpenAI-compatible chat API: asked again while that makes sense, counted, cached.

In:  an `Endpoint` and messages. The key comes from the environment and is written nowhere.
Out: a `Reply`, also where the model refused or said nothing of use: what a model will not say is a finding. An `ApiFailure` when this
     question could not be asked, an `ApiUnusable` when no question can.
Asked again: no connection, a time-out, 408, 409, 425, 429, 5xx and a body that is no completion; after 1, 2, 4 … seconds with jitter, or
when Retry-After says, and then nobody asks before.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .pace import Pace, retry_after_seconds
from .replies import Reply, read_reply
from .reply_cache import ReplyCache, content_hash
from .usage import Ledger

if TYPE_CHECKING:
    import httpx2

Message = Mapping[str, Any]

AGAIN = frozenset({408, 409, 425, 429})
HOPELESS = frozenset({401, 402, 403, 404, 405})  # of the key, the account or the address: the next question fares no better
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS, LONGEST_HOLD_SECONDS = 1.0, 60.0, 600.0
CHARACTERS_PER_TOKEN = 4  # a guess, until the server has counted
IMAGE_TOKENS = 800  # a guess for anything that is not text
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})


class ApiFailure(RuntimeError):
    """This question got no answer; others may. The message says what was tried."""


class ApiUnusable(RuntimeError):
    """No question will get an answer: the key, the account, the address or the model is wrong. Ends with the cure."""


@dataclass(frozen=True)
class Endpoint:
    """A model and where it is asked.

    base_url      up to and with /v1
    key_variable  environment variable that holds the key; a server on this machine needs none
    prices        of a million prompt and completion tokens
    """

    base_url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    requests_per_minute: float = 0.0
    tokens_per_minute: float = 0.0
    concurrency: int = 8
    timeout_seconds: float = 120.0
    retries: int = 6
    prices: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError(f"a base URL must look like https://host/v1, got {self.base_url!r}")
        if parts.username or parts.password:
            raise ValueError("a base URL must not hold a key; put it into the environment, and name the variable with --key-variable")
        if self.concurrency < 1 or self.retries < 0 or self.timeout_seconds <= 0:
            raise ValueError(
                f"concurrency must be at least 1, retries at least 0 and the time-out above 0, got {self.concurrency}, {self.retries} and "
                f"{self.timeout_seconds}"
            )

    @property
    def url(self) -> str:
        return self.base_url.rstrip("/") + "/chat/completions"

    def key(self) -> str:
        """The key, or "" for a server on this machine. ApiUnusable with the cure."""
        key = os.environ.get(self.key_variable, "").strip()
        if not key and urlsplit(self.base_url).hostname not in LOCAL_HOSTS:
            raise ApiUnusable(f"no key for {self.base_url}; set the environment variable {self.key_variable}")
        if not all("!" <= letter <= "~" for letter in key):  # the client would tell it in its error
            raise ApiUnusable(f"the key in {self.key_variable} holds spaces or letters that no key has; set it anew")
        return key


class ChatClient:
    """Questions to one endpoint; use it in `async with`. At most `concurrency` are under way at once.

    `ask_again`: cached answers that were of no use are asked for anew.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        cache: ReplyCache,
        ledger: Ledger,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        ask_again: bool = False,
    ) -> None:
        try:
            import httpx2
        except ImportError as error:
            raise ImportError("models are asked over HTTP; install the client: pip install httpx2") from error
        self.endpoint = endpoint
        self._cache, self._ledger = cache, ledger
        self._first_wait_seconds = first_wait_seconds
        self._ask_again = ask_again
        self._pace = Pace(endpoint.requests_per_minute, endpoint.tokens_per_minute)
        self._turns = asyncio.Semaphore(endpoint.concurrency)
        key = endpoint.key()
        self._http = httpx2.AsyncClient(
            timeout=endpoint.timeout_seconds,
            # Over plain HTTP no certificate is looked at, and reading the system's takes 0.3 s; one without any trusts nobody.
            verify=True if endpoint.base_url.startswith("https") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx2.Limits(max_connections=endpoint.concurrency),
        )

    async def __aenter__(self) -> ChatClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.aclose()

    async def ask(self, messages: Sequence[Message], **settings: Any) -> Reply:
        """One completion. `settings` go into the request: temperature, max_tokens, seed, response_format.

        ApiFailure, ApiUnusable, BudgetSpent.
        """
        payload = {"model": self.endpoint.model, "messages": list(messages), **settings}
        key = content_hash(self.endpoint.url, payload)
        held = self._cache.get(key)
        if held is not None:
            reply = read_reply(held, self.endpoint.model, cached=True)
            if reply.status == "ok" or not self._ask_again:
                self._usage.cached += 1
                return reply
        async with self._turns:
            body = await self._completion(payload)
        self._cache.put(key, payload, body)
        reply = read_reply(body, self.endpoint.model)
        self._usage.refusals += reply.status == "refused"
        self._usage.malformed += reply.status == "malformed"
        self._usage.cut_short += reply.status == "cut_short"
        return reply

    @property
    def _usage(self) -> Any:
        return self._ledger.of(self.endpoint.model)

    async def _completion(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a completion."""
        guess, problem = _tokens(payload), ""
        for attempt in range(self.endpoint.retries + 1):
            if attempt:
                self._usage.retries += 1
            self._ledger.check()
            await self._pace.take(guess)
            self._usage.requests += 1
            body, problem, wait = await self._try(payload, guess)
            if body is not None:
                return body
            if attempt < self.endpoint.retries:
                if wait is not None:
                    self._pace.hold(min(wait, LONGEST_HOLD_SECONDS))
                longest = min(LONGEST_WAIT_SECONDS, self._first_wait_seconds * 2 ** (0 if wait is not None else attempt))
                await asyncio.sleep(longest * random.uniform(0.5, 1.0))
        self._usage.failures += 1
        tries = f"{self.endpoint.retries + 1} times" if self.endpoint.retries else "once"
        raise ApiFailure(f"{self.endpoint.url}, model {self.endpoint.model}: asked {tries}; at last: {problem}")

    async def _try(self, payload: Mapping[str, Any], guess: int) -> tuple[dict[str, Any] | None, str, float | None]:
        """A completion's body; or what went wrong and how long the server wants to be left alone."""
        import httpx2

        try:
            response = await self._http.post(self.endpoint.url, json=payload)
        except httpx2.HTTPError as error:
            return None, f"{type(error).__name__}: {error}".rstrip(": "), None
        body = _json(response)
        if response.status_code == 200:
            if body is None or not isinstance(body.get("choices"), list) or not body["choices"]:
                return None, f"status 200 and no completion: {response.text[:120]!r}", None
            self._count(body, guess)
            return body, "", None
        return None, self._refused(response, body), retry_after_seconds(response.headers.get("retry-after"))

    def _refused(self, response: httpx2.Response, body: dict[str, Any] | None) -> str:
        """What an error says, where asking again may help. ApiUnusable and ApiFailure where it does not."""
        status = response.status_code
        error = body.get("error") if body else None
        told = error if isinstance(error, Mapping) else {"message": error or response.text[:200]}
        problem = f"status {status}: {str(told.get('message') or told)[:200]}"
        if status in HOPELESS or 300 <= status < 400 or told.get("code") == "insufficient_quota":
            self._usage.failures += 1
            at = self.endpoint
            raise ApiUnusable(
                f"{at.url}: {problem}; check the key in {at.key_variable}, the account, the base URL and the model {at.model}"
            )
        if status not in AGAIN and status < 500:
            self._usage.failures += 1
            raise ApiFailure(f"{self.endpoint.url}, model {self.endpoint.model}: {problem}")
        return problem

    def _count(self, body: Mapping[str, Any], guess: int) -> None:
        usage = body.get("usage")
        counts = usage if isinstance(usage, Mapping) else {}
        prompt, completion = (_number(counts.get(name)) for name in ("prompt_tokens", "completion_tokens"))
        self._usage.prompt_tokens += prompt
        self._usage.completion_tokens += completion
        self._usage.cost += (prompt * self.endpoint.prices[0] + completion * self.endpoint.prices[1]) / 1e6
        if prompt + completion:
            self._pace.counted(guess, prompt + completion)


def _json(response: httpx2.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _number(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) and 0 <= value < 1e12 else 0


def _tokens(payload: Mapping[str, Any]) -> int:
    count = _number(payload.get("max_tokens"))
    for message in payload["messages"]:
        content = message["content"]
        for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            count += len(part["text"]) // CHARACTERS_PER_TOKEN if part["type"] == "text" else IMAGE_TOKENS
    return count
