"""Failures are not data: what cannot be served costs nothing, stops the run with a reason, and logs no round."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

pytest.importorskip("openai")

from tests.live.answering import Answering, Request, Response, answers, chat
from tests.live.scripted import Scripted, make_pool
from uis_env.live.__main__ import main
from uis_env.live.client import Batch, Client, Sampling
from uis_env.live.env import LiveEnv
from uis_env.live.failure import told_wait
from uis_env.live.ledger import NOTHING, Ledger
from uis_env.live.pool import Pool

CONFIG = """
[endpoints.e]
base_url = "{url}"
timeout = 5.0
retries = 1
backoff = 0.001
{endpoint}
[models.m]
endpoint = "e"
price = {{ input = 1.0, cached = 0.5, output = 4.0 }}
{model}
[queries]
file = "queries.jsonl"
verifier = "numeric"
[record]
direct = 2
[[arms]]
methods = ["single"]
budgets = [1]
[experiment]
rounds = 12
agent = {{ name = "epsilon_greedy" }}
"""


def write(folder: Path, url: str, endpoint: str = "", model: str = "", queries: int = 12) -> Path:
    rows = [{"id": f"q{i}", "question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(queries)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "c.toml").write_text(CONFIG.format(url=url, endpoint=endpoint, model=model))
    return folder / "c.toml"


def sample(pool: Pool, n: int = 1, count: int = 1) -> tuple[Client, Ledger, list[Batch]]:
    async def run() -> tuple[Client, Ledger, list[Batch]]:
        client, ledger = Client(pool), Ledger()
        messages = [{"role": "user", "content": "What is 3 + 4?"}]
        batches = [await client.sample(ledger, "m", messages, n, Sampling(), seed=1) for _ in range(count)]
        await client.close()
        return client, ledger, batches

    return asyncio.run(run())


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def plain_server() -> Answering:
    return Answering(answers)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:{free}/v1", "unreachable: connection refused"),
        ("http://no-such-host.invalid/v1", "unreachable: the host's name cannot be resolved"),
        ("https://127.0.0.1:{plain}/v1", "unreachable: TLS: "),
    ],
)
def test_what_was_never_sent_costs_nothing(url: str, says: str) -> None:
    with plain_server() as server:
        pool = make_pool(url.format(free=free_port(), plain=server.port), retries=0)
        client, ledger, batches = sample(pool, count=8)
        assert server.requests == []
    assert batches[0].error is not None
    assert batches[0].error.startswith(says)
    assert [call.tokens for call in ledger.calls] == [NOTHING] * 5
    assert batches[-1].error == "stopped"
    assert client.budget.spent == 0
    assert ledger.void is not None
    assert client.stopped is not None
    assert "5 times in a row" in client.stopped


@pytest.mark.parametrize("key", ["two\nlines", "käse", "with space"])
def test_a_key_that_cannot_be_sent_is_refused_at_once(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UIS_TEST_KEY", key)
    with pytest.raises(ValueError, match="environment variable UIS_TEST_KEY holds white space or characters") as error:
        Client(make_pool(key_env="UIS_TEST_KEY"))
    assert key not in str(error.value)


REFUSALS: dict[str, tuple[Response, str, str]] = {
    "401": (
        Response(401, {"error": {"message": "Incorrect API key"}}),
        "/v1",
        "http 401: Incorrect API key, 5 times in a row; check key_env",
    ),
    "403": (Response(403, {"detail": "no"}), "/v1", "http 403: no, 5 times in a row; check that the key may use 'm'"),
    "404 without v1": (Response(404, {"detail": "Not Found"}), "", "base_url has no /v1: try 'http://127.0.0.1:"),
    "404": (Response(404, {"error": "model 'm' not found"}), "/v1", "http 404: model 'm' not found, 5 times in a row"),
    "redirect": (Response(307, "", {"Location": "http://elsewhere.invalid/"}), "/v1", "redirects to http://elsewhere"),
    "quota": (
        Response(429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}),
        "/v1",
        "the quota is exhausted: http 429: You exceeded your quota",
    ),
    "balance": (Response(402, {"error": {"message": "Insufficient Balance"}}), "/v1", "the quota is exhausted"),
    "wait": (
        Response(429, {}, {"Retry-After": "120"}),
        "/v1",
        "it asks to wait 120 s (max_wait is 60): go on after 20",
    ),
    "refused": (
        Response(422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}),
        "/v1",
        "http 422: body.seed: Extra inputs are not permitted, 5 times in a row; check the config against",
    ),
    "broken": (Response(500, "oops"), "/v1", "http 500: oops, 5 times in a row"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_run_stops_with_one_line_and_logs_no_round(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from experiments.__main__ import main as experiments

    response, path, says = REFUSALS[name]
    learns = name in ("401", "404 without v1", "wait", "broken")  # each compiles an agent
    with Answering(lambda request: response) as server:
        config = str(write(tmp_path, f"http://127.0.0.1:{server.port}{path}"))
        if learns:
            assert experiments(["live", config, "--out", str(tmp_path / "live"), "--max-dollars", "1"]) == 1
            assert (tmp_path / "live" / "decisions.jsonl").read_text() == ""
            assert len(server.requests) <= 20
        assert main(["record", config, "--out", str(tmp_path / "rec"), "--max-dollars", "1"]) == 1
    assert not [path for path in (tmp_path / "rec").glob("*.direct.jsonl") if path.read_text()]
    printed = capsys.readouterr()
    stops = [line for line in printed.out.splitlines() + printed.err.splitlines() if line.startswith("endpoint 'e': ")]
    assert len(stops) == 1 + learns
    assert all(says in line for line in stops)
    if name != "broken":
        rows = [json.loads(line) for line in (tmp_path / "rec" / "calls.jsonl").read_text().splitlines()]
        assert sum(row["dollars"] for row in rows if "end" in row) == 0


def test_an_isolated_failure_is_played_again_and_is_no_round(tmp_path: Path) -> None:
    def answer(request: Request) -> Response:
        return Response(401, {}) if request.number in (3, 4, 9) else answers(request)

    with Answering(answer) as server:
        env = LiveEnv(write(tmp_path, server.url))
        env.reset(seed=0)
        steps = [env.step(0) for _ in range(12)]
        env.close()
    assert [info["failed"] for *_, info in steps] == [False] * 12
    assert [info["quality"] for *_, info in steps] == [1.0] * 12
    assert steps[-1][2:4] == (True, False)


def test_a_verdict_on_one_prompt_is_an_outcome(tmp_path: Path) -> None:
    flagged = {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["violence"]}}}

    def answer(request: Request) -> Response:
        return Response(403, flagged) if "What is 7 + 1?" in str(request.body) else answers(request)

    with Answering(answer) as server:
        env = LiveEnv(write(tmp_path, server.url))
        _, info = env.reset(seed=0)
        failed = {}
        for _ in range(12):
            query = info["query"]
            _, _, _, truncated, info = env.step(0)
            failed[query] = info["failed"]
            assert not truncated
        env.close()
    assert failed == {query: query == 7 for query in range(12)}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": " 2 "}, 2.0),
        ({"retry-after": "1.5s"}, 1.5),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        (
            {
                "x-ratelimit-reset-requests": "20ms",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "90",
            },
            0.02,
        ),
        ({}, None),
    ],
)
def test_what_a_server_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert told_wait(headers) == seconds


def test_dates_and_moments_become_seconds() -> None:
    later = datetime.now(UTC) + timedelta(seconds=100)
    for value in (format_datetime(later, usegmt=True), str(later.timestamp()), str(later.timestamp() * 1000)):
        seconds = told_wait({"retry-after": value})
        assert seconds is not None
        assert 90 < seconds <= 100
    assert told_wait({"retry-after": "9" * 400}) is None
    assert told_wait({"retry-after": "99999999999999"}) is not None


@pytest.mark.parametrize("headers", [{"Retry-After": "0.3"}, {"retry-after-ms": "300"}])
def test_the_whole_endpoint_pauses(headers: dict[str, str]) -> None:
    def answer(request: Request) -> Response:
        return Response(429, {}, headers) if request.number == 0 else answers(request)

    async def run(server: Answering) -> None:
        client, ledger = Client(make_pool(server.url, concurrency=4)), Ledger()
        messages = [{"role": "user", "content": "What is 3 + 4?"}]
        first = asyncio.create_task(client.sample(ledger, "m", messages, 1, Sampling()))
        while not ledger.calls:
            await asyncio.sleep(0.005)
        others = [client.sample(ledger, "m", messages, 1, Sampling()) for _ in range(6)]
        batches = await asyncio.gather(first, *others)
        assert all(batch.error is None for batch in batches)
        await client.close()

    with Answering(answer) as server:
        asyncio.run(run(server))
        times = [request.at for request in server.requests]
    assert len(times) == 8
    assert min(times[1:]) >= times[0] + 0.3


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("n", [2, 16])
def test_n_refused_falls_back_to_one_sample_per_call_at_once(status: int, n: int) -> None:
    def answer(request: Request) -> Response:
        return Response(status, {"detail": "n"}) if request.body.get("n", 1) > 1 else answers(request)

    with Answering(answer) as server:
        _, _, batches = sample(make_pool(server.url), n=n, count=2)
        assert [request.body.get("n", 1) for request in server.requests] == [n, *[1] * 2 * n]
    assert all(len(batch.samples) == n and batch.error is None for batch in batches)
    seeds = [request.body["seed"] for request in server.requests[1:]]
    assert sorted(seeds) == sorted([*range(1, n + 1)] * 2)


def test_n_ignored_falls_back_to_one_sample_per_call_at_once() -> None:
    with Answering(lambda request: Response(200, chat("7"))) as server:
        _, _, (batch,) = sample(make_pool(server.url), n=16)
        assert [request.body.get("n", 1) for request in server.requests] == [16, *[1] * 15]
    assert len(batch.samples) == 16
    assert batch.error is None


def test_a_500_for_every_n_above_one_falls_back_and_a_passing_one_does_not() -> None:
    def always(request: Request) -> Response:
        return Response(500, {}) if request.body.get("n", 1) > 1 else answers(request)

    def once(request: Request) -> Response:
        return Response(500, {}) if request.number == 0 else answers(request)

    for retries in (0, 1):
        with Answering(always) as server:
            _, _, (batch,) = sample(make_pool(server.url, retries=retries), n=4)
            assert [request.body.get("n", 1) for request in server.requests] == [4, 4, 1, 1, 1, 1]
        assert len(batch.samples) == 4
        with Answering(once) as server:
            _, _, (batch,) = sample(make_pool(server.url, retries=retries), n=4)
            assert [request.body.get("n", 1) for request in server.requests] == [4, 4]
        assert len(batch.samples) == 4


def test_fields_can_be_left_out() -> None:
    with Answering(answers) as server:
        sample(make_pool(server.url, omit=("seed", "temperature", "logprobs")))
        sample(make_pool(server.url))
    first, second = (request.body for request in server.requests)
    assert second.keys() - first.keys() == {"seed", "temperature", "logprobs"}


def test_a_call_above_its_reservation_ends_with_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from experiments.__main__ import main as experiments

    def huge(request: Request) -> Response:
        usage = {"prompt_tokens": 5, "completion_tokens": 10**9}
        return answers(request, usage=usage)

    with Answering(huge) as server:
        config = str(write(tmp_path, server.url, queries=1).with_suffix(".toml"))
        assert main(["record", config, "--out", str(tmp_path / "rec")]) == 1
        assert experiments(["live", config, "--out", str(tmp_path / "live"), "--max-dollars", "1e9"]) == 1
    printed = capsys.readouterr()
    for text in (printed.err, printed.out):
        assert "used more than was reserved for them" in text


def test_another_model_and_another_bill_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def other(request: Request) -> Response:
        usage = {"prompt_tokens": 5, "completion_tokens": 1, "cost": 0.5}
        return answers(request, usage=usage, model="other-cheaper-model")

    with Answering(other) as server:
        assert main(["record", str(write(tmp_path, server.url, queries=1)), "--out", str(tmp_path / "rec")]) == 0
    printed = capsys.readouterr().err
    assert "model 'm' (id 'm') was answered by 'other-cheaper-model' (" in printed
    assert "the provider reports $" in printed
    rows = [json.loads(line) for line in (tmp_path / "rec" / "calls.jsonl").read_text().splitlines()]
    ended = [row["call"] for row in rows if "end" in row]
    assert {(call["served"], call["cost"]) for call in ended} == {("other-cheaper-model", 0.5)}


def test_a_dated_name_is_the_same_model() -> None:
    from uis_env.live.remarks import _same_model

    assert _same_model("gpt-4o", "gpt-4o-2024-08-06")
    assert _same_model("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b-instruct")
    assert _same_model("small", "/models/small.gguf")
    assert _same_model("llama3", "llama3:latest")
    assert not _same_model("gpt-4o", "gpt-4o-mini")
    assert not _same_model("m", "other-cheaper-model")


def test_a_scripted_transport_needs_no_endpoint() -> None:
    async def run() -> Batch:
        client = Client(make_pool(), transport=Scripted(lambda body: "http 401"))
        return await client.sample(Ledger(), "m", [{"role": "user", "content": "x"}], 1, Sampling())

    assert asyncio.run(run()).error == "http 401"


def test_waiting_does_not_outlast_a_stop() -> None:
    """Calls that wait for a pause end when the run stops."""

    def answer(request: Request) -> Response:
        return Response(429, {}, {"Retry-After": "0.2" if request.number == 0 else "500"})

    with Answering(answer) as server:
        client, _, batches = sample(make_pool(server.url, retries=3), count=3)
    assert batches[-1].error == "stopped"
    assert client.stopped is not None
    assert "asks to wait 500 s" in client.stopped
