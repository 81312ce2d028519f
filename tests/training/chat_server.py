"""A local HTTP server that speaks the OpenAI-compatible chat API, real sockets and all, and misbehaves by script."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What the server does with one request. `body` None: a completion that says `text`; bytes are sent as they are."""

    text: str = "fine"
    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    hang_up: bool = False
    finish_reason: str = "stop"
    refusal: str | None = None


Rule = Callable[[dict[str, Any], int], Answer]


class Server:
    """`rule` gets a request's JSON and how many came before it."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.requests, self.headers = rule, [], []  # type: ignore[var-annotated]
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        asked = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            number = len(self.requests)
            self.requests.append(asked)
            self.headers.append((handler.path, dict(handler.headers)))
        try:
            answer = self.rule(asked, number)
            time.sleep(answer.delay_seconds)
            if answer.hang_up:
                handler.close_connection = True
                return
            body = answer.body if answer.body is not None else completion(answer)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            handler.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **answer.headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client gave up waiting
        finally:
            with self._lock:
                self._at_once -= 1


def completion(answer: Answer) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.text, "refusal": answer.refusal}
    return {
        "choices": [{"message": message, "finish_reason": answer.finish_reason}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    }


@contextmanager
def serving(rule: Rule) -> Iterator[Server]:
    server = Server(rule)
    try:
        yield server
    finally:
        server.close()


def text_of(request: Mapping[str, Any]) -> str:
    """All text of a request's messages."""
    found = []
    for message in request["messages"]:
        content = message["content"]
        found += [content] if isinstance(content, str) else [part["text"] for part in content if part["type"] == "text"]
    return "\n".join(found)
