from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.live.scripted import CARD
from uis_env.costs import ModelCard, Price, compute_and_memory, eflops, prefill
from uis_env.live.ledger import NOTHING, UNKNOWN, Call, Ledger, Tokens

MOST = Tokens(1000, 0, 500, 0)
CARDS = {"m": CARD, "free": ModelCard("free", price=Price(0, 0, 0)), "bare": ModelCard("bare")}


def call(name: str, **changes: object) -> Call:
    settings = {"model": "m", "purpose": "generate", "asked": 1, "tokens": Tokens(10, 2, 5, 1), "most": MOST}
    return Call(name, **(settings | changes))  # type: ignore[arg-type]


def test_totals_and_dollars_add_up() -> None:
    second = call("b", tokens=Tokens(100, 0, 7, 0), attempt=1)
    ledger = Ledger([call("a"), second, call("c", tokens=NOTHING, error="x")])
    totals = ledger.totals()
    assert totals[:4] == (3, 1, 1, 0)
    assert totals[4:] == (110, 2, 12, 1, 0)
    assert ledger.dollars(CARDS) == pytest.approx((110 * 1.0 + 2 * 0.5 + 12 * 4.0) / 1e6, rel=1e-15)


def test_unknown_usage_is_nan_with_a_count_and_charged_at_its_worst_case() -> None:
    ledger = Ledger([call("a"), call("b", tokens=UNKNOWN, error="timeout")])
    assert math.isnan(ledger.totals().output)
    assert math.isnan(ledger.dollars(CARDS))
    assert math.isnan(ledger.eflops(CARDS))
    assert ledger.totals().unknown == 1
    charged = ledger.totals(charged=True)
    assert (charged.uncached, charged.output, charged.unknown) == (1010, 505, 1)
    assert ledger.dollars(CARDS, charged=True) == pytest.approx((1010 + 2 * 0.5 + 505 * 4) / 1e6, rel=1e-15)


def test_a_call_with_half_its_usage_known_is_charged_for_the_other_half() -> None:
    assert call("a", tokens=Tokens(math.nan, math.nan, 5, 0)).charged() == Tokens(1000, 0, 5, 0)


def test_latency_is_the_longest_chain() -> None:
    ledger = Ledger(
        [
            call("a", seconds=1.0),
            call("b", seconds=3.0),
            call("c", seconds=1.0, after=("a",)),
            call("d", seconds=0.5, wait=0.25, after=("c", "b"), attempt=1),
            call("e", seconds=2.0, after=("c",)),
        ]
    )
    assert ledger.latency() == 4.0
    assert Ledger().latency() == 0.0


@given(st.lists(st.tuples(st.floats(0, 10), st.sets(st.integers(0, 20), max_size=3)), max_size=12))
def test_latency_equals_the_brute_force_over_all_paths(parts: list[tuple[float, set[int]]]) -> None:
    calls = [call(str(i), seconds=s, after=tuple(str(j) for j in js if j < i)) for i, (s, js) in enumerate(parts)]

    def longest(i: int) -> float:
        return calls[i].seconds + max((longest(int(j)) for j in calls[i].after), default=0.0)

    assert Ledger(calls).latency() == max((longest(i) for i in range(len(calls))), default=0.0)


def test_eflops_follow_the_lengths_of_the_samples() -> None:
    ledger = Ledger([call("a", asked=2, tokens=Tokens(90, 10, 50, 0), lengths=(20, 30))])
    compute, memory = compute_and_memory(CARD, 100, 50, 20**2 + 30**2, 30)
    assert ledger.eflops(CARDS) == pytest.approx(float(eflops(compute + prefill(CARD, 90), memory)), rel=1e-12)
    unknown = Ledger([call("a", asked=2, tokens=Tokens(90, 10, 50, 0))])
    compute, memory = compute_and_memory(CARD, 100, 50, 2 * 25**2, 25)
    assert unknown.eflops(CARDS) == pytest.approx(float(eflops(compute + prefill(CARD, 90), memory)), rel=1e-12)


def test_a_model_without_price_or_shape_is_named() -> None:
    ledger = Ledger([call("a", model="bare")])
    with pytest.raises(ValueError, match="'bare' has no price"):
        ledger.dollars(CARDS)
    with pytest.raises(ValueError, match="'bare' has no params"):
        ledger.eflops(CARDS)


def test_json_has_null_for_unknown_counts() -> None:
    row = json.loads(json.dumps(call("a", tokens=Tokens(math.nan, math.nan, 5, 0), error="x").to_json()))
    assert row["tokens"] == {"uncached": None, "cached": None, "output": 5, "reasoning": 0, "written": 0.0}
    assert row["error"] == "x"
