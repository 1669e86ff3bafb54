"""Beam and tree search on a scripted world of paths, whose best outcome is known by brute force."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.live.scripted import Reply, Scripted, make_ask, make_pool
from uis_env.live.ledger import Ledger
from uis_env.live.outcome import LiveOutcome, play
from uis_env.live.scorers import Callback
from uis_env.live.strategies import Ask, Search
from uis_env.live.strategies.search import reachable


def unit(*key: object) -> float:
    """A number in [0, 1) that depends on the key alone."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=4).digest()) / 2**32


def world(stop: float) -> Any:
    """Steps with names that depend on seed and place; each may hold the answer with probability `stop`."""

    def script(body: Mapping[str, Any]) -> Sequence[Reply]:
        names = [f"{body['seed']}.{i}" for i in range(body.get("n", 1))]
        return [(f"Answer: 4 ({name})" if unit("end", name) < stop else f"step {name}", -0.5) for name in names]

    return script


def ask_with(ends: float, seed: int = 0, prefill: bool = True, **search: Any) -> Ask:
    scorer = Callback(lambda question, text: unit("value", text.splitlines()[-1] if text else ""))
    pool = make_pool(prefill={} if prefill else None)
    return make_ask(world(ends), scorer=scorer, seed=seed, pool=pool, search=Search(**search))


def run(ask: Ask, method: str, *budget: int) -> LiveOutcome:
    return asyncio.run(play(ask, method, budget))


def bodies(ask: Ask) -> list[dict[str, Any]]:
    transport = ask.client.transport
    assert isinstance(transport, Scripted)
    return transport.bodies


@settings(deadline=None, max_examples=60)
@given(
    qp=st.integers(1, 3),
    cp=st.integers(1, 4),
    bs=st.integers(1, 3),
    depth=st.integers(1, 5),
    stop=st.sampled_from([0.0, 0.2, 0.5]),
    seed=st.integers(0, 10**6),
)
def test_early_exit_changes_the_cost_and_never_the_result(
    qp: int, cp: int, bs: int, depth: int, stop: float, seed: int
) -> None:
    full = ask_with(stop, seed, depth=depth, early_exit=False)
    lean = ask_with(stop, seed, depth=depth, early_exit=True)
    first, second = run(full, "tree_search", qp, cp, bs), run(lean, "tree_search", qp, cp, bs)
    assert first.answer == second.answer
    assert len(lean.ledger.calls) <= len(full.ledger.calls)
    assert second.tokens <= first.tokens


def test_early_exit_saves_calls() -> None:
    calls = {True: 0, False: 0}
    for early in calls:
        for seed in range(20):
            ask = ask_with(0.3, seed, depth=6, early_exit=early)
            run(ask, "tree_search", 3, 3, 2)
            calls[early] += len(ask.ledger.calls)
    assert calls[True] < calls[False]


def test_the_bound_is_the_published_one() -> None:
    assert reachable(0.5, 2, 8, 1.0) == pytest.approx((2 * 0.5 + 6 * 1.0) / 8)
    assert reachable(0.5, 8, 8, 1.0) == 0.5
    assert reachable(0.5, 2, 8, 0.9) == pytest.approx((2 * 0.5 + 6 * 0.9) / 8)


@settings(deadline=None, max_examples=40)
@given(qp=st.integers(1, 3), cp=st.integers(1, 3), depth=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_a_search_that_keeps_everything_finds_the_best_path(qp: int, cp: int, depth: int, seed: int) -> None:
    """With BS >= CP^depth nothing is cut, so the result is the best over all leaves, enumerated here."""
    ask = ask_with(0.3, seed, depth=depth, early_exit=False)
    outcome = run(ask, "tree_search", qp, cp, cp**depth)
    script, values = world(0.3), []

    def grow(tree: int, key: tuple[int, ...], steps: tuple[float, ...]) -> None:
        body = {"seed": ask.seed_of(tree, *key), "n": cp}
        for i, (text, _) in enumerate(script(body)):
            path = (*steps, unit("value", text))
            if len(path) == depth or text.startswith("Answer"):
                values.append(math.fsum(path) / len(path))
            else:
                grow(tree, (*key, i), path)

    for tree in range(qp):
        grow(tree, (), ())
    assert outcome.answer.score == pytest.approx(max(values))


@pytest.mark.parametrize(("n", "width", "depth"), [(4, 2, 3), (8, 4, 2), (4, 4, 3), (6, 1, 2), (1, 1, 4)])
def test_beam_search_asks_for_n_candidates_at_every_step(n: int, width: int, depth: int) -> None:
    ask = ask_with(0.0, depth=99, early_exit=False)
    run(ask, "beam_search", n, width, depth)
    asked = [body.get("n", 1) for body in bodies(ask)]
    assert asked == [n] + [width] * (n // width) * (depth - 1)


def test_tree_search_asks_qp_times_bs_times_cp() -> None:
    ask = ask_with(0.0, depth=3, early_exit=False)
    run(ask, "tree_search", 2, 4, 3)
    assert [body.get("n", 1) for body in bodies(ask)] == [4] * 2 + [4] * 2 * 3 + [4] * 2 * 3
    assert len({body["seed"] for body in bodies(ask)}) == len(bodies(ask))


def test_steps_are_cut_short_until_the_last_one() -> None:
    ask = ask_with(0.0, depth=3, early_exit=False, stop="\n\n", max_tokens=5)
    run(ask, "tree_search", 1, 1, 1)
    assert [(body.get("stop"), body["max_tokens"]) for body in bodies(ask)] == [(["\n\n"], 5)] * 2 + [(None, 16)]


def test_a_path_goes_on_where_it_stopped() -> None:
    ask = ask_with(0.0, depth=2, early_exit=False)
    run(ask, "tree_search", 1, 1, 1)
    first, second = bodies(ask)
    assert [message["role"] for message in second["messages"]] == ["user", "assistant"]
    assert second["messages"][1]["content"] == f"step {first['seed']}.0\n"
    ask = ask_with(0.0, depth=3, early_exit=False, prefill=False)
    run(ask, "tree_search", 1, 1, 1)
    _, second, third = (body["messages"] for body in bodies(ask))
    assert [len(messages) for messages in (second, third)] == [1, 1]
    assert "Write only the next step" in second[0]["content"]
    assert "Finish it" in third[0]["content"]


def test_a_server_that_repeats_the_beginning_gives_the_same_steps() -> None:
    def repeating(body: Mapping[str, Any]) -> Sequence[Reply]:
        last = body["messages"][-1]
        begun = last["content"].rstrip() if last["role"] == "assistant" else ""
        return [(f"{begun}\n{text}" if begun else text, logprob) for text, logprob in world(0.2)(body)]

    for seed in range(5):
        ask = ask_with(0.2, seed, depth=4)
        other = replace(ask, client=make_ask(repeating, pool=make_pool(prefill={})).client, ledger=Ledger())
        assert run(ask, "tree_search", 2, 2, 2).answer == run(other, "tree_search", 2, 2, 2).answer


def test_searching_is_timed_along_the_steps() -> None:
    ask = ask_with(0.0, depth=3, early_exit=False)
    run(ask, "tree_search", 2, 2, 2)
    ledger = ask.ledger
    ledger.calls[:] = [replace(call, seconds=1.0) for call in ledger.calls]
    assert ledger.latency() == 3.0


def test_lost_candidates_leave_the_others() -> None:
    def script(body: Mapping[str, Any]) -> Sequence[Reply] | str:
        return "connection" if body["seed"] % 2 else world(0.3)(body)

    for seed in range(12):
        scorer = Callback(lambda question, text: unit(text))
        ask = make_ask(script, scorer=scorer, seed=seed, pool=make_pool(prefill={}, retries=0))
        outcome = run(ask, "tree_search", 3, 2, 2)
        lost = all(call.error for call in ask.ledger.calls)
        assert (outcome.answer.error is None) or lost or outcome.answer.text == ""
        assert outcome.answer.error in (None, "connection")
