"""A server on this machine that speaks the OpenAI-compatible chat API and says what it measures of what it is sent: for rehearsals.

It is no model. Of pictures it tells the colour, of sound the pitch and level, of text the label and clues that stand in it; the same to the
same request. What is rehearsed is everything between a clip and a cell of MMEVerse's table.
"""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

NAME = "stand-in"
_LABEL = re.compile(r"(?:person in the video appears|speaker in the audio is feeling|person in the video:) ([^.;]+)[.;]")
_CLUES = re.compile(r"(?:A tone of|The picture is of) [^.]+\.")


def answer(asked: Mapping[str, Any]) -> str:
    """What is said to a request. ValueError where it holds something that cannot be read."""
    parts = [part for message in asked["messages"] for part in _parts(message["content"])]
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    told = _LABEL.search(text)
    label = told[1].strip() if told else "a feeling that nobody named"
    pictures = [_pixels(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]
    sounds = [part["input_audio"]["data"] for part in parts if part["type"] == "input_audio"]
    if pictures:
        red, green, blue = (round(float(value)) for value in np.mean([picture.mean(axis=(0, 1)) for picture in pictures], axis=0))
        return f"The picture is of red {red}, green {green} and blue {blue}. That goes with {label}."
    if sounds:
        pitch, level = _heard(sounds[0])
        return f"A tone of {pitch:.0f} hertz at {level:.0f} decibels is heard. That goes with {label}."
    return f"{' '.join(_CLUES.findall(text)) or 'There are few clues.'} Taken together they speak of {label}."


def _parts(content: Any) -> list[Mapping[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _pixels(url: str) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(url.partition("base64,")[2]), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("an image_url is no picture")
    return picture[..., ::-1]


def _heard(data: str) -> tuple[float, float]:
    """Strongest frequency in Hz, level in decibels."""
    import soundfile

    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
    spectrum = np.abs(np.fft.rfft(samples))
    level = 20 * np.log10(max(1e-6, float(np.sqrt(np.mean(np.square(samples))))))
    return float(np.argmax(spectrum) * rate / max(1, len(samples))), level


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked: dict[str, Any] = {}
        try:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = 200, _completion(asked, answer(asked))
        except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
            status, body = 400, {"error": {"message": f"{type(error).__name__}: {error}"}}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def _completion(asked: Mapping[str, Any], text: str) -> dict[str, Any]:
    words = len(json.dumps(asked["messages"])) // 4
    return {
        "id": "stand-in",
        "object": "chat.completion",
        "model": asked.get("model", NAME),
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": words, "completion_tokens": len(text) // 4, "total_tokens": words + len(text) // 4},
    }


@contextmanager
def serving() -> Iterator[str]:
    """The base URL of a server that runs as long as the block does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
