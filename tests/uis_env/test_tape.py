"""Tapes: the same rounds whatever the chunking, fair orders, independent streams."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uis_env.tape import Schedule, Stretch, Tape, _hash, tape, tapes


def schedule(horizon: int = 200, queries: int = 17, draws: int = 5, order: str = "passes") -> Schedule:
    return Schedule(horizon, draws, (Stretch(0, 0, np.arange(queries, dtype=np.int32)),), 1, order)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    horizon = draw(st.integers(1, 400))
    phases = draw(st.integers(1, 4))
    starts = sorted({0, *draw(st.lists(st.integers(0, horizon - 1), max_size=3))})
    stretches = []
    for start in starts:
        queries = draw(st.lists(st.integers(0, 50), min_size=1, max_size=30, unique=True))
        phase = draw(st.none() | st.integers(0, phases - 1))
        stretches.append(Stretch(start, phase, np.array(queries, np.int32)))
    order = draw(st.sampled_from(["passes", "iid"]))
    return Schedule(horizon, draw(st.integers(1, 20)), tuple(stretches), phases, order)


def joined(parts: list[Tape]) -> Tape:
    return Tape(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


@given(schedules(), st.integers(0, 2**64 - 1), st.integers(0, 5), st.lists(st.integers(0, 400), max_size=6))
def test_any_chunking_gives_the_same_rounds(plan: Schedule, seed: int, episode: int, cuts: list[int]) -> None:
    edges = sorted({0, plan.horizon, *(cut for cut in cuts if cut < plan.horizon)})
    parts = [tape(plan, seed, a, b - a, episode) for a, b in pairwise(edges)]
    whole = tape(plan, seed, episode=episode)
    for got, expected in zip(joined(parts), whole, strict=True):
        np.testing.assert_array_equal(got, expected)
        assert expected.dtype == np.int32 and expected.shape == (plan.horizon,)


@given(schedules(), st.lists(st.integers(0, 2**63), min_size=1, max_size=5), st.data())
def test_many_tapes_at_once_are_the_single_ones(plan: Schedule, seeds: list[int], data: st.DataObject) -> None:
    episodes = [data.draw(st.integers(0, 1000)) for _ in seeds]
    start = data.draw(st.integers(0, plan.horizon))
    many = tapes(plan, seeds, start, None, episodes)
    for i, (seed, episode) in enumerate(zip(seeds, episodes, strict=True)):
        for rows, one in zip(many, tape(plan, seed, start, None, episode), strict=True):
            np.testing.assert_array_equal(rows[i], one)


@given(schedules(), st.integers(0, 2**32))
def test_rounds_keep_to_their_stretch(plan: Schedule, seed: int) -> None:
    played = tape(plan, seed)
    stops = [stretch.start for stretch in plan.stretches[1:]] + [plan.horizon]
    assert played.draw.min() >= 0 and played.draw.max() < plan.draws
    for stretch, stop in zip(plan.stretches, stops, strict=True):
        part = slice(stretch.start, stop)
        assert np.isin(played.query[part], stretch.queries).all()
        if stretch.phase is None:
            assert played.phase[part].min() >= 0 and played.phase[part].max() < plan.phases
        else:
            assert (played.phase[part] == stretch.phase).all()


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_every_pass_asks_every_query_once(count: int, seed: int) -> None:
    query = tape(schedule(horizon=4 * count, queries=count), seed).query.reshape(4, count)
    np.testing.assert_array_equal(np.sort(query, axis=1), np.tile(np.arange(count), (4, 1)))


def test_passes_differ_and_every_permutation_is_as_likely() -> None:
    plan = schedule(horizon=9, queries=3)
    orders = tapes(plan, range(6000)).query.reshape(-1, 3) @ np.array([9, 3, 1])
    counts = np.unique(orders, return_counts=True)[1]
    assert len(counts) == 6
    expected = len(orders) / 6
    assert ((counts - expected) ** 2 / expected).sum() < 20.5  # chi-square, 5 degrees of freedom, p = .001


@pytest.mark.parametrize("order", ["iid", "passes"])
def test_draws_and_iid_queries_are_uniform_and_independent(order: str) -> None:
    plan = schedule(horizon=40, queries=7, draws=5, order=order)
    played = tapes(plan, range(2000))
    pairs = (played.query * 5 + played.draw).ravel()
    counts = np.bincount(pairs, minlength=35)
    expected = len(pairs) / 35
    assert ((counts - expected) ** 2 / expected).sum() < 65.3  # 34 degrees of freedom, p = .001
    following = played.draw[:, :-1] * 5 + played.draw[:, 1:]
    counts = np.bincount(following.ravel(), minlength=25)
    expected = following.size / 25
    assert ((counts - expected) ** 2 / expected).sum() < 51.2  # 24 degrees of freedom, p = .001


def test_iid_repeats_a_query_within_a_pass() -> None:
    query = tape(schedule(horizon=17, order="iid"), 0).query
    assert len(np.unique(query)) < 17


def test_seeds_and_episodes_give_other_tapes() -> None:
    plan = schedule(horizon=50)
    seen = {tape(plan, seed, episode=episode).query.tobytes() for seed in range(10) for episode in range(10)}
    assert len(seen) == 100


def test_a_phase_per_round_is_uniform() -> None:
    plan = Schedule(1000, 1, (Stretch(0, None, np.arange(3, dtype=np.int32)),), 4)
    counts = np.bincount(tapes(plan, range(20)).phase.ravel(), minlength=4)
    assert ((counts - 5000) ** 2 / 5000).sum() < 16.3  # 3 degrees of freedom, p = .001


def test_one_round_of_passes_is_a_uniform_draw() -> None:
    counts = np.bincount(tapes(schedule(horizon=1, queries=8), range(8000)).query[:, 0], minlength=8)
    assert ((counts - 1000) ** 2 / 1000).sum() < 24.4  # 7 degrees of freedom, p = .001


def test_excluded_queries_are_never_asked() -> None:
    plan = schedule(horizon=100).without(np.array([3, 5, 16]))
    asked = set(tape(plan, 1).query.tolist())
    assert asked == set(range(17)) - {3, 5, 16}
    with pytest.raises(ValueError, match="stretch 0 has no query"):
        plan.without(np.arange(17))


def test_a_far_round_needs_no_rounds_before_it() -> None:
    plan = schedule(horizon=10**12)
    first = 10**12 // 17 * 17 - 17  # a whole pass
    assert sorted(tape(plan, 7, first, 17).query.tolist()) == list(range(17))


def test_hash_is_splitmix64() -> None:
    """The generator's widely published first outputs for state 1234567."""
    outputs = _hash(np.array([1234567], np.uint64), np.arange(5, dtype=np.uint64))
    assert outputs.tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_a_tape_is_what_it_was() -> None:
    """Stored results rest on these numbers: change them only with a new version of the results' format."""
    played = tape(schedule(horizon=8, queries=6, draws=4), 2026)
    assert played.query.tolist() == [5, 3, 1, 0, 4, 2, 2, 5]
    assert played.draw.tolist() == [1, 0, 0, 0, 2, 3, 2, 0]


@pytest.mark.parametrize("start, length", [(-1, 5), (0, 201), (200, 1), (5, -1)])
def test_rounds_outside_the_horizon_are_refused(start: int, length: int) -> None:
    with pytest.raises(ValueError, match="leave the horizon of 200"):
        tape(schedule(), 0, start, length)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_outside_64_bits_are_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="is outside 0"):
        tape(schedule(), seed)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"horizon": 0}, "must be >= 1"),
        ({"draws": 0}, "must be >= 1"),
        ({"order": "sorted"}, "expected 'passes' or 'iid'"),
        ({"stretches": ()}, "increasing rounds from 0"),
        ({"stretches": (Stretch(1, 0, np.arange(3)),)}, "increasing rounds from 0"),
        ({"stretches": (Stretch(0, 0, np.arange(3)), Stretch(9, 0, np.arange(3)))}, "at or after the horizon of 9"),
        ({"stretches": (Stretch(0, 1, np.arange(3)),)}, "names phase 1"),
        ({"stretches": (Stretch(0, 0, np.arange(0)),)}, "has no query"),
    ],
)
def test_schedules_out_of_order_are_refused(changes: dict[str, object], message: str) -> None:
    parts = {"horizon": 9, "draws": 2, "stretches": (Stretch(0, 0, np.arange(3)),)} | changes
    with pytest.raises(ValueError, match=message):
        Schedule(**parts)  # type: ignore[arg-type]
