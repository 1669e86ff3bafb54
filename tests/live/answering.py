"""A server on loopback whose responses a function decides, byte for byte."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Request:
    """One request as it came: path, headers (lower case), JSON, the number of requests before it, and when."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    number: int
    at: float


@dataclass
class Response:
    """A response: JSON, text or bytes."""

    status: int
    body: Any = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def data(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


class Answering:
    """`with Answering(lambda request: Response(200, chat("3"))) as server:` serves on `server.url`."""

    def __init__(self, answer: Callable[[Request], Response]) -> None:
        self.answer = answer
        self.requests: list[Request] = []

    def __enter__(self) -> Answering:
        owner, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with lock:
                    request = Request(self.path, headers, body, len(owner.requests), time.monotonic())
                    owner.requests.append(request)
                response = owner.answer(request)
                data = response.data()
                self.send_response(response.status)
                for name, value in {"Content-Type": "application/json", **response.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that gave up is no news."""

        self._http = Listener(("127.0.0.1", 0), Handler)
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def chat(*texts: str, prompt: int = 5, usage: Any = ..., logprob: float | None = -0.1, **extra: Any) -> dict[str, Any]:
    """A completion with one token per word."""
    choices = []
    for i, text in enumerate(texts):
        choice = {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if logprob is not None:
            choice["logprobs"] = {"content": [{"token": "x", "logprob": logprob}] * max(1, len(text.split()))}
        choices.append(choice)
    output = sum(max(1, len(text.split())) for text in texts)
    counted = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
    return {"choices": choices, "usage": counted if usage is ... else usage, **extra}


def right(request: Request) -> str:
    """The right answer to "What is 3 + 4?"."""
    words = request.body["messages"][-1]["content"].rstrip("?").split()
    return str(int(words[-3]) + int(words[-1]))


def answers(request: Request, **settings: Any) -> Response:
    """As many right answers as asked for."""
    return Response(200, chat(*[right(request)] * request.body.get("n", 1), **settings))
