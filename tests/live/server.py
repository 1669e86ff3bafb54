"""An OpenAI-compatible server on loopback that injects faults and keeps its own ledger of what it served.

It answers sums ("17 + 25") with a chance of being right, counts words as tokens, and honours `n`, `stop`, `max_tokens`
and `logprobs`. What a request gets depends on its body and on how often that body was seen, not on the clock.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.live.faults import EXTRA, SPOILS
from uis_env.costs import ModelCard
from uis_env.live.ledger import Call, Tokens, price_of

NAN = math.nan
UNTOLD = (
    *("hang", "drop", "half", "bad json", "500", "drip", "bomb"),
    *("no usage", "negative usage", "text usage", "zero usage"),
)
REFUSED = (
    "429",
    "429 retry-after",
    "429 date",
    "retry-after-ms",
    "503",
    "401 echo",
    "404",
    "307",
    "422 n",
    "n over limit",
)
"""Faults after which nothing was generated."""
FAULTS = (
    *UNTOLD,
    "429",
    "429 retry-after",
    "429 date",
    "503",
    "401 echo",
    "error body",
    "empty",
    "fewer",
    "null content",
    "first choice usage",
    "cached beyond prompt",
    "reasoning in total",
    "slow",
    *SPOILS,
    *EXTRA,
)


@dataclass(frozen=True)
class Served:
    """What one request was: the fault it met, the tokens that were generated for it, and those the reply told."""

    id: str
    path: str
    fault: str | None
    tokens: tuple[int, int, int, int, int]
    told: tuple[float, float, float, float, float]


@dataclass
class FaultyServer:
    """`with FaultyServer(rate=0.3) as server:` serves on `server.url`.

    Attributes:
        rate: share of requests that meet a fault.
        faults: which ones.
        skill: chance that a sample is right.
        limit: most samples in one request; more is a 400.
        patience: seconds that a hanging request hangs; longer than the client's timeout.
    """

    rate: float = 0.0
    faults: tuple[str, ...] = FAULTS
    skill: float = 0.6
    limit: int = 8
    patience: float = 4.0
    served: list[Served] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    peak: int = 0

    def __enter__(self) -> FaultyServer:
        self.lock = threading.Lock()
        self.seen: dict[str, int] = {}
        self.open = 0
        self._http = _Listener(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def plan(self, path: str, body: str) -> tuple[str | None, random.Random]:
        """The fault of a request, and its randomness."""
        with self.lock:
            times = self.seen[path + body] = self.seen.get(path + body, -1) + 1
        rng = random.Random(f"{path}{body}{times}")
        return (rng.choice(self.faults) if rng.random() < self.rate else None), rng


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    owner: FaultyServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        # No traceback: formatting one parses source, which Python 3.11 cannot do in two threads at once.
        if not isinstance(sys.exception(), ConnectionError):
            self.owner.problems.append(repr(sys.exception()))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *arguments: object) -> None:
        pass

    def do_POST(self) -> None:
        owner = self.server.owner
        with owner.lock:
            owner.open += 1
            owner.peak = max(owner.peak, owner.open)
        try:
            length = int(self.headers["Content-Length"])
            raw = self.rfile.read(length)
            if len(raw) < length:  # the client gave up while sending
                self.close_connection = True
                return
            self._answer(owner, raw.decode())
        finally:
            with owner.lock:
                owner.open -= 1

    def _answer(self, owner: FaultyServer, raw: str) -> None:
        body = json.loads(raw)
        fault, rng = owner.plan(self.path, raw)
        chat = self.path.endswith("/chat/completions")
        asked = body.get("n", 1) if chat else 1
        if fault == "first choice usage" and not body.get("logprobs"):
            fault = None
        if (fault in SPOILS and not chat) or (fault == "422 n" and asked == 1):
            fault = None
        if asked > owner.limit:
            fault = "n over limit"
        prompt = max(2, sum(len(text.split()) for text in _texts(body)))
        cached = rng.randrange(prompt)
        choices = [_choice(body, i, rng, owner.skill) for i in range(asked)] if chat else []
        reasoning = sum(2 for _ in choices) if fault == "reasoning in total" else 0
        lengths = [len(choice["logprobs"]["content"]) for choice in choices]
        tokens = (prompt - cached, cached, sum(lengths) + reasoning, reasoning, 0)
        if fault in REFUSED:
            tokens = (0, 0, 0, 0, 0)
        usage: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": sum(lengths),
            "total_tokens": prompt + sum(lengths) + reasoning,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
        told: tuple[float, ...] = tokens
        if fault in UNTOLD or fault == "error body":
            told = (NAN,) * 5
        counted = body.get("logprobs") and chat and all(choice["logprobs"]["content"] for choice in choices)
        if fault in ("no usage", "negative usage", "text usage", "zero usage"):
            usage = {
                "no usage": None,
                "negative usage": {"prompt_tokens": -1, "completion_tokens": -5, "total_tokens": -6},
                "text usage": {"prompt_tokens": "12", "completion_tokens": "7"},
                "zero usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
            }[fault]
            silent = fault == "zero usage" and not any(choice["message"]["content"] for choice in choices)
            output = sum(lengths) if counted else 0 if silent else NAN
            told = (NAN, NAN, output, 0 if output == output else NAN, NAN)
            if not chat:
                told = (NAN, NAN, 0, 0, NAN) if fault == "zero usage" else (NAN,) * 5
        elif fault == "first choice usage":
            usage["completion_tokens"] = lengths[0]
            usage["total_tokens"] = prompt + lengths[0]
        elif fault == "cached beyond prompt":
            usage["prompt_tokens_details"] = {"cached_tokens": prompt + 1}
            told = (NAN, NAN, *tokens[2:4], NAN)
        if fault == "empty":
            choices = []
        elif fault == "fewer":
            choices = choices[: max(1, len(choices) // 2)]
        elif fault == "null content":
            for choice in choices:
                choice["message"]["content"] = None
        if not body.get("logprobs"):
            for choice in choices:
                choice.pop("logprobs", None)
        timings = {"prompt_n": prompt - cached, "prompt_ms": 2.0 * (prompt - cached)}
        if lengths:
            timings |= {"predicted_n": lengths[0], "predicted_ms": 5.0 * lengths[0]}
        reply: dict[str, Any] = {"object": "chat.completion", "choices": choices, "usage": usage, "timings": timings}
        if not chat:
            reply = {"data": [{"data": [rng.random() for _ in range(3)]}], "usage": usage and dict(usage)}
            if usage and fault not in ("negative usage", "text usage", "zero usage"):
                usage.pop("completion_tokens")
                reply["usage"] = usage
        if fault == "error body":
            reply = {"error": {"message": "overloaded"}}
        if fault in SPOILS:
            told = SPOILS[fault](reply, tokens)
        record = Served(self.headers["X-Client-Request-Id"], self.path, fault, tokens, told)  # type: ignore[arg-type]
        with owner.lock:
            owner.served.append(record)
        self._reply(fault, json.dumps(reply), owner.patience)

    def _reply(self, fault: str | None, text: str, patience: float) -> None:
        key = self.headers.get("Authorization", "")
        if fault == "hang":
            time.sleep(patience)
            self.close_connection = True
        elif fault == "drop":
            self._cut()
        elif fault == "half":
            self._send(200, text, part=len(text) // 2)
            self._cut()
        elif fault == "bad json":
            self._send(200, text[:-9] + "<html>")
        elif fault == "500":
            self._send(500, '{"error": {"message": "internal"}}')
        elif fault == "503":
            self._send(503, "unavailable")
        elif fault == "401 echo":
            self._send(401, json.dumps({"error": {"message": f"bad credentials {key}"}}))
        elif fault == "n over limit":
            self._send(400, json.dumps({"error": {"message": f"too many choices, {key}"}}))
        elif fault == "404":
            self._send(404, '{"detail": "Not Found"}')
        elif fault == "307":
            self._send(307, "", "Location: http://elsewhere.invalid/v1\r\n")
        elif fault == "422 n":
            self._send(422, '{"detail": [{"loc": ["body", "n"], "msg": "too many"}]}')
        elif fault == "retry-after-ms":
            self._send(429, "{}", "retry-after-ms: 5\r\n")
        elif fault in ("gzip", "bomb"):
            self._send(200, text + " " * (9 << 20) * (fault == "bomb"), packed=True)
        elif fault == "429":
            self._send(429, '{"error": {"message": "slow down"}}')
        elif fault == "429 retry-after":
            self._send(429, "{}", "Retry-After: 0.01\r\n")
        elif fault == "429 date":
            self._send(429, "{}", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n")
        elif fault == "slow":
            self._send(200, text, pause=0.005)
        elif fault == "drip":
            self._send(200, text, pause=patience / 20)
        else:
            self._send(200, text)

    def _send(
        self,
        status: int,
        text: str,
        extra: str = "",
        part: int | None = None,
        pause: float = 0.0,
        packed: bool = False,
    ) -> None:
        data = text.encode()
        if packed:
            data, extra = gzip.compress(data, 1), "Content-Encoding: gzip\r\n"
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n{extra}\r\n"
        if not pause:
            self.wfile.write(head.encode() + data[:part])
            return
        self.wfile.write(head.encode())
        for i in range(21):
            time.sleep(pause)
            self.wfile.write(data[len(data) * i // 21 : len(data) * (i + 1) // 21])

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _texts(body: dict[str, Any]) -> list[str]:
    return [message["content"] for message in body["messages"]] if "messages" in body else [str(body["input"])]


def _choice(body: dict[str, Any], index: int, rng: random.Random, skill: float) -> dict[str, Any]:
    """A sample: some steps, then the answer; cut at the first stop text and at the token limit."""
    request = "\n".join(_texts(body))
    sums = re.findall(r"(\d+) \+ (\d+)", request)
    total = sum(map(int, sums[-1])) if sums else 0
    answer = total if rng.random() < skill else total + rng.randrange(1, 4)
    if "0 to 10" in request:
        text = rng.choice(["7", "Score: 9", "I would say 3 of 10", "no idea"])
    elif "step" in request.lower():
        text = "".join(f"Step {i}: add the parts.\n" for i in range(rng.randrange(3))) + f"Answer: {answer}"
    else:
        text = rng.choice([f"{answer}", f"{answer}.", f" {answer}\n", "", "I cannot tell"])
    for stop in body.get("stop", []):
        text = text.partition(stop)[0]
    words = re.findall(r"\s*\S+\s*", text)
    most = body.get("max_tokens", body.get("max_completion_tokens", 64))
    finish = "length" if len(words) >= most else "stop"
    words = words[:most]
    ended = [""] if finish == "stop" else []
    content = [{"token": word, "logprob": -rng.random()} for word in [*words, *ended]]
    message = {"role": "assistant", "content": "".join(words)}
    return {"index": index, "message": message, "finish_reason": finish, "logprobs": {"content": content}}


def journal_calls(path: Path) -> list[Call]:
    """The calls that ended, as a journal holds them."""
    rows = [json.loads(line)["call"] for line in path.read_text().splitlines() if '"end"' in line]
    for row in rows:
        row["tokens"] = Tokens(**{name: NAN if count is None else count for name, count in row["tokens"].items()})
        row |= {"most": Tokens(**row["most"]), "cost": NAN if row["cost"] is None else row["cost"]}
        row |= {"lengths": tuple(row["lengths"]), "after": tuple(row["after"])}
    return [Call(**row) for row in rows]


def agree(server: FaultyServer, calls: Sequence[Call], card: ModelCard) -> None:
    """Our ledger and the server's: the same calls, and of each the same tokens as far as the server told them."""
    assert not server.problems
    served = {record.id: record for record in server.served}
    assert len(served) == len(server.served)
    assert served.keys() <= {call.id for call in calls}
    assert len({call.id for call in calls}) == len(calls)
    for call in calls:
        if call.id not in served:
            assert call.error == "timeout", call  # on a busy machine: given up before the server read it
            continue
        record = served[call.id]
        told = (math.nan,) * 5 if call.error == "timeout" else record.told
        assert [str(float(count)) for count in call.tokens] == [str(float(count)) for count in told], (call, record)
        assert price_of(card, call.charged()) >= price_of(card, Tokens(*record.tokens)), (call, record)
