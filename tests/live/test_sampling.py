"""Single, best-of-N, votes, adaptive consistency and self-refine on scripted samples."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.live.scripted import Reply, Scripted, fixed, make_ask, make_pool
from uis_env.estimators import settled
from uis_env.live.outcome import play
from uis_env.live.scorers import Callback, Confidence, Judge, RewardModel, verdict
from uis_env.live.strategies import METHODS, Ask, check_budget
from uis_env.live.strategies.sampling import elect

ANSWERS = st.lists(st.sampled_from(["", "4", "5", "6"]), min_size=1, max_size=12)


def run(ask: Ask, method: str, *budget: int) -> Any:
    return asyncio.run(play(ask, method, budget))


def scripted(texts: Sequence[str], logprobs: Sequence[float]) -> Any:
    """Hands out (text, log-probability) pairs in order, however they are asked for."""
    pairs = iter(zip(texts, logprobs, strict=True))
    return lambda body: [next(pairs) for _ in range(body.get("n", 1))]


def test_single_is_one_sample() -> None:
    ask = make_ask(fixed("It is 4"))
    outcome = run(ask, "single", 1)
    assert (outcome.answer.answer, outcome.quality, outcome.tokens) == ("4", 1.0, 3)
    assert outcome.answer.score == pytest.approx(math.exp(-0.1))
    assert len(ask.ledger.calls) == 1


@settings(deadline=None)
@given(ANSWERS, st.randoms(use_true_random=False))
def test_votes_and_best_of_n_agree_with_brute_force(texts: list[str], rng: random.Random) -> None:
    logprobs = [-rng.random() for _ in texts]
    n = len(texts)

    def play_(method: str) -> Any:
        return run(make_ask(scripted(texts, logprobs)), method, n).answer

    counts = Counter(text for text in texts if text)
    most = max(counts.values(), default=0)
    assert play_("majority").answer == next((t for t in texts if t and counts[t] == most), "")
    assert play_("best_of_n").text == texts[int(np.argmax(np.exp(logprobs)))]
    sums = {t: math.fsum(math.exp(v) for u, v in zip(texts, logprobs, strict=True) if u == t) for t in counts}
    assert play_("weighted_best_of_n").answer == (max(sums, key=lambda t: sums[t]) if sums else "")


@settings(deadline=None)
@given(st.lists(st.sampled_from(["", "4", "5"]), min_size=10, max_size=10), st.integers(1, 10))
def test_adaptive_consistency_draws_what_one_by_one_would(texts: list[str], n: int) -> None:
    counts: Counter[str] = Counter()
    drawn = 0
    while drawn < n and not settled(*([c for _, c in counts.most_common(2)] + [0, 0])[:2]):
        counts.update(filter(None, [texts[drawn]]))
        drawn += 1
    ask = make_ask(scripted(texts, [-1.0] * 10))
    outcome = run(ask, "adaptive_consistency", n)
    assert sum(call.asked for call in ask.ledger.calls) == drawn
    first = next((t for t in texts[:drawn] if t and counts[t] == max(counts.values())), "")
    assert outcome.answer.answer == first
    assert ask.ledger.latency() == pytest.approx(sum(call.seconds for call in ask.ledger.calls))


def test_failed_samples_never_vote() -> None:
    """Parts of a split request fail; what they hold, error texts included, is no answer."""

    def script(body: Mapping[str, Any]) -> Sequence[Reply] | str:
        return {0: "http 401", 1: "connection"}.get(body["seed"] % 3, [("4", -1.0)])

    for seed in range(20):
        ask = make_ask(script, pool=make_pool(max_n=1, retries=0), seed=seed)
        outcome = run(ask, "majority", 9)
        assert outcome.answer.answer == "4"
        assert outcome.answer.error is None
        errors = Counter(call.error for call in ask.ledger.calls)
        assert errors == {"http 401": 3, "connection": 3, None: 3}
        assert outcome.unknown == 3


@pytest.mark.parametrize("method", METHODS)
def test_an_arm_that_fails_is_an_outcome(method: str) -> None:
    budget = {"single": (1,), "self_refine": (2,), "beam_search": (4, 2, 3), "tree_search": (2, 2, 2)}.get(method, (4,))
    ask = make_ask(lambda body: "timeout", pool=make_pool(retries=1))
    outcome = run(ask, method, *budget)
    assert outcome.answer == ("", "", pytest.approx(math.nan, nan_ok=True), "timeout")
    assert outcome.quality == 0
    assert outcome.unknown == len(ask.ledger.calls) >= 2
    assert outcome.dollars > 0
    assert math.isfinite(outcome.eflops)


def test_elect_breaks_ties_for_the_first_drawn() -> None:
    assert elect(["a", "b", "b", "a"], [1, 1, 1, 1]) == 0
    assert elect(["", "", "b"], [1, 1, 1]) == 2
    assert elect(["", ""], [1, 1]) == 0
    assert elect(["a", "b"], [0.1 + 0.2, 0.3]) == 0


def test_a_judge_s_calls_are_in_the_ledger_and_after_the_samples() -> None:
    def script(body: Mapping[str, Any]) -> Sequence[Reply]:
        text = body["messages"][0]["content"]
        if "0 to 10" in text:
            return [("9" if "It is 5" in text else "about 3", -1.0)]
        return [("It is 4", -0.1), ("It is 5", -0.9)]

    ask = make_ask(script, scorer=Judge("m"))
    outcome = run(ask, "best_of_n", 2)
    assert outcome.answer.answer == "5"
    assert outcome.answer.score == 0.9
    generate, *judges = ask.ledger.calls
    assert [call.purpose for call in judges] == ["judge", "judge"]
    assert all(call.after == (generate.id,) for call in judges)
    assert math.isnan(run(make_ask(script, scorer=Judge("m")), "majority", 2).answer.score)


def test_a_judge_that_fails_leaves_the_first_answer() -> None:
    def script(body: Mapping[str, Any]) -> Sequence[Reply] | str:
        return "connection" if "0 to 10" in body["messages"][0]["content"] else [("4", -0.1), ("5", -0.2)]

    for method in ("best_of_n", "weighted_best_of_n"):
        outcome = run(make_ask(script, scorer=Judge("m"), pool=make_pool(retries=0)), method, 2)
        assert outcome.answer.answer == "4"
        assert math.isnan(outcome.answer.score) or outcome.answer.score == 0
        assert outcome.unknown == 2


def test_a_callback_scores() -> None:
    ask = make_ask(fixed("4", "5", "6"), scorer=Callback(lambda question, text: float(text == "5")))
    assert run(ask, "best_of_n", 3).answer.answer == "5"
    with pytest.warns(RuntimeWarning, match="scorer callback returned 3.0, expected"):
        outcome = run(make_ask(fixed("4"), scorer=Callback(lambda question, text: 3.0)), "best_of_n", 1)
    assert (outcome.quality, math.isnan(outcome.answer.score)) == (1, True)
    with pytest.warns(RuntimeWarning, match="scorer callback failed: ZeroDivisionError"):
        outcome = run(make_ask(fixed("4"), scorer=Callback(lambda question, text: 1 / 0)), "majority", 1)
    assert (outcome.quality, math.isnan(outcome.answer.score)) == (1, True)


@pytest.mark.parametrize(
    ("text", "value"), [("7", 0.7), ("Score: 10 of 10", 1.0), ("I give 8.5", 0.85), ("100%", math.nan), ("", math.nan)]
)
def test_verdicts(text: str, value: float) -> None:
    assert verdict(text) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    ("settings", "data", "value"),
    [
        ({}, {"data": [{"data": [0.1, 0.9]}]}, 0.9),
        ({"reduce": "min"}, {"data": [{"data": [[0.1], [0.9]]}]}, 0.1),
        ({"reduce": "mean"}, {"data": [{"data": [0.5, 0.7]}]}, 0.6),
        ({"reduce": "product"}, {"data": [{"data": [0.5, 0.5]}]}, 0.25),
        ({"squash": "sigmoid"}, {"data": [{"data": [0.0]}]}, 0.5),
        ({"squash": "sigmoid"}, {"data": [{"data": [-1000.0]}]}, 0.0),
        ({"pick": "score"}, {"score": 0.3}, 0.3),
        ({}, {"data": [{"data": [3.0]}]}, math.nan),
        ({}, {"data": []}, math.nan),
        ({}, {"data": [{"data": ["x"]}]}, math.nan),
        ({}, None, math.nan),
    ],
)
def test_reward_models_are_read(settings: dict[str, str], data: Any, value: float) -> None:
    assert RewardModel("m", **settings).read(data) == pytest.approx(value, nan_ok=True)


def test_self_refine_drafts_criticises_and_revises_in_turn() -> None:
    replies = iter(["It is 5", "The sum is wrong", "It is 4", "No error."])
    ask = make_ask(lambda body: [(next(replies), -0.5)])
    outcome = run(ask, "self_refine", 3)
    assert outcome.answer.answer == "4"
    assert [call.purpose for call in ask.ledger.calls] == ["generate", "judge", "generate", "judge"]
    assert ask.ledger.latency() == pytest.approx(sum(call.seconds for call in ask.ledger.calls))
    transport = ask.client.transport
    assert isinstance(transport, Scripted)
    assert [message["role"] for message in transport.bodies[2]["messages"]] == ["user", "assistant"] * 2 + ["user"]


def test_self_refine_keeps_the_draft_when_the_critic_fails() -> None:
    replies = iter([[("It is 5", -0.5)], "http 401"])
    outcome = run(make_ask(lambda body: next(replies)), "self_refine", 3)
    assert outcome.answer.answer == "5"
    assert outcome.answer.error is None


@pytest.mark.parametrize(
    ("method", "budget", "message"),
    [
        ("psychic", (1,), "unknown method 'psychic'"),
        ("majority", (0,), "majority has budget"),
        ("majority", (2, 2), r"expected integers >= 1 for \(N\)"),
        ("tree_search", (2, 2), r"\(QP, CP, BS\)"),
        ("single", (2,), r"expected \[1\]"),
        ("beam_search", (5, 2, 3), "multiple of width"),
    ],
)
def test_bad_budgets_are_named(method: str, budget: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_budget(method, budget)


def test_seeds_differ_between_requests_and_repeat_between_runs() -> None:
    ask = make_ask(fixed("4"))
    assert isinstance(ask.scorer, Confidence)
    assert ask.seed_of("a") == make_ask(fixed("4")).seed_of("a") != ask.seed_of("b")
    assert all(0 <= ask.seed_of(i) < 2**31 for i in range(100))
