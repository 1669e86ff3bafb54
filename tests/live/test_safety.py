"""What is sent to whom, what is kept of keys, and what a pool file may not say."""

from __future__ import annotations

import gzip
import json
import math

import pytest

pytest.importorskip("openai")

from tests.live.answering import Answering, Request, Response, answers, chat
from tests.live.scripted import make_pool
from tests.live.test_failure import sample
from uis_env.live.pool import Pool, parse_pool
from uis_env.live.table import Table


def test_redirects_are_not_followed_and_send_nothing_elsewhere() -> None:
    with Answering(answers) as other:
        target = Response(307, "", {"Location": f"{other.url}/chat/completions"})
        with Answering(lambda request: target) as server:
            _, ledger, (batch,) = sample(make_pool(server.url))
            assert len(server.requests) == len(ledger.calls) == 1
        assert other.requests == []
    assert batch.error == f"http 307: redirects to {other.url}/chat/completions"


def test_organisation_and_project_go_only_where_they_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-env")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-env")
    with Answering(answers) as server:
        sample(make_pool(server.url))
        sample(make_pool(server.url, organization="org-1", project="proj-1"))
    first, second = (request.headers for request in server.requests)
    assert not {"openai-organization", "openai-project"} & first.keys()
    assert (second["openai-organization"], second["openai-project"]) == ("org-1", "proj-1")


def test_a_body_above_the_limit_ends_the_call() -> None:
    bomb = gzip.compress(json.dumps(chat("7")).encode() + b" " * 50_000_000)
    fine = gzip.compress(json.dumps(chat("7")).encode())

    def answer(request: Request) -> Response:
        return Response(200, fine if request.number else bomb, {"Content-Encoding": "gzip"})

    with Answering(answer) as server:
        _, ledger, batches = sample(make_pool(server.url, retries=0, max_bytes=1_000_000), count=2)
    assert batches[0].error == "too large: the body is longer than max_bytes"
    assert math.isnan(ledger.calls[0].tokens.output)  # it was sent, so its worst case counts
    assert batches[1].samples[0].text == "7"


LONG = "sk-SECRETKEY/abc+def=="


@pytest.mark.parametrize("echo", ['"bad key Bearer sk-SECRETKEY\\/abc+def=="', '"\\u0073k-SECRETKEY\\u002fabc+def=="'])
def test_a_key_in_any_spelling_is_cut_from_what_is_kept(echo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UIS_TEST_KEY", LONG)
    with Answering(lambda request: Response(401, f'{{"error": {{"message": {echo}, "code": {echo}}}}}')) as server:
        client, ledger, (batch,) = sample(make_pool(server.url, key_env="UIS_TEST_KEY"))
    kept = json.dumps(ledger.calls[0].to_json(), ensure_ascii=False) + repr(batch) + str(client.stopped)
    assert LONG not in kept
    assert "[key]" in ledger.calls[0].detail


@pytest.mark.parametrize("key", ["none", "1", "token", "e", LONG])
def test_answers_are_kept_as_they_are(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UIS_TEST_KEY", key)
    text = f"Answer: none of these 1 token {LONG}"
    with Answering(lambda request: Response(200, chat(text, model="m1"))) as server:
        _, ledger, (batch,) = sample(make_pool(server.url, key_env="UIS_TEST_KEY"))
    assert batch.samples[0].text == text
    assert ledger.calls[0].served == "m1"


def pool_of(model: str, endpoint: str = "") -> Pool:
    import tomllib

    text = f'[endpoints.e]\nbase_url = "http://x/v1"\n{endpoint}\n[models.m]\nendpoint = "e"\n{model}\n'
    return parse_pool(Table(tomllib.loads(text), "pool.toml"))


RESERVED = ["n", "max_tokens", "max_completion_tokens", "model", "stream", "seed", "messages", "best_of"]


@pytest.mark.parametrize("field", RESERVED)
def test_extras_cannot_set_what_is_reserved(field: str) -> None:
    for key in ("extra", "prefill"):
        with pytest.raises(ValueError, match=rf"pool\.toml\.models\.m\.{key}: '{field}' decides what is asked for"):
            pool_of(f"{key} = {{ {field} = 1 }}")
    with pytest.raises(ValueError, match="'num_predict' decides"):
        pool_of("extra = { options = { num_predict = 9 } }")
    assert pool_of("extra = { top_k = 1 }").models["m"].extra == {"top_k": 1}


@pytest.mark.parametrize(
    ("model", "endpoint", "message"),
    [
        ('omit = ["n"]', "", "models.m.omit: 'n', expected some of seed, temperature, stop, logprobs"),
        (
            "price = { input = 1.5e-7, cached = 1e-7, output = 6e-7 }",
            "",
            "6e-07 looks like US dollars per token, expected them per million tokens: 0.6?",
        ),
        ("", 'organization = "a b"', "endpoints.e.organization: 'a b', expected ASCII without white space"),
        ("", "max_bytes = 0", "endpoints.e.max_bytes"),
    ],
)
def test_mistakes_in_the_pool_are_named(model: str, endpoint: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        pool_of(model, endpoint)


def test_a_base_url_with_the_route_in_it_is_refused() -> None:
    with pytest.raises(ValueError, match="base_url: ends in /chat/completions, expected what stands before it"):
        parse_pool(Table({"endpoints": {"e": {"base_url": "http://x/v1/chat/completions"}}}, "p"))
