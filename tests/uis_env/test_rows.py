"""Rows of anybody's log become a world: every mean by brute force, every error with its row and field."""

from __future__ import annotations

import csv
import io
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import uis_env
from uis_env import Arm, UISEnv, World, from_rows, tabulate
from uis_env.bandit import Phase, Reward, cross_fitted

CHANNELS = ("score", "dollars", "tokens", "latency", "eflops")


def row(**changes: Any) -> dict[str, Any]:
    return {"query": "q", "model": "m", "quality": 1.0, **changes}


def world_of(rows: Any, **options: Any) -> World:
    """A world without contexts, whose one warning is expected."""
    with pytest.warns(UserWarning, match="one constant column"):
        return from_rows(rows, **options)


cells = st.dictionaries(
    st.tuples(st.integers(0, 3), st.sampled_from(["a", "b"]), st.sampled_from([1, (2, 3)])),
    st.dictionaries(st.integers(0, 20), st.floats(0, 1), min_size=1, max_size=5),
    min_size=1,
)


@given(cells, st.randoms(use_true_random=False))
def test_every_mean_by_brute_force(cells: Any, random: Any) -> None:
    rows = [
        row(query=q, model=model, budget=budget, draw=draw, quality=quality, dollars=3 * quality, group=f"g{q % 2}")
        for (q, model, budget), draws in cells.items()
        for draw, quality in draws.items()
    ]
    random.shuffle(rows)
    world = world_of(iter(rows))
    assert world.query_ids == tuple(dict.fromkeys(str(r["query"]) for r in rows))
    assert world.groups == tuple(f"g{int(q) % 2}" for q in world.query_ids)
    counts = {len(draws) for draws in cells.values()}
    labels = [set().union(*(d for (q, *_), d in cells.items() if str(q) == query)) for query in world.query_ids]
    exact = math.lcm(*counts, *map(len, labels)) <= 64
    assert exact or world.channels.quality.shape[1] == max(map(len, labels))
    for (q, query), (k, arm) in itertools.product(enumerate(world.query_ids), enumerate(world.catalog.arms)):
        budget = arm.budget if len(arm.budget) > 1 else arm.budget[0]
        draws = cells.get((int(query), arm.model, budget))
        assert world.recorded[q, k] == (draws is not None)
        drawn, mean = world.channels.quality[q, :, k], world.expected.quality[q, k]
        if draws is None:
            assert not drawn.any() and mean == 0
            continue
        assert mean == pytest.approx(np.mean(list(draws.values())), abs=1e-6)
        assert world.expected.dollars is not None
        assert world.expected.dollars[q, k] == pytest.approx(3 * mean, abs=1e-6)
        times = [int((drawn == np.float32(value)).sum()) for value in set(map(np.float32, draws.values()))]
        assert sum(times) == len(drawn)
        if exact:
            assert drawn.mean(dtype=np.float64) == pytest.approx(mean, abs=1e-6)


def test_draws_are_matched_between_the_arms_of_a_query() -> None:
    rows = [row(model="a", draw=draw, quality=draw / 10) for draw in (7, 3, 5)]
    rows += [row(model="b", draw=draw, quality=draw / 10) for draw in (3, 7)]
    drawn = world_of(rows).channels.quality[0]
    assert drawn.shape == (6, 2)
    np.testing.assert_allclose(drawn[:3, 0], [0.3, 0.5, 0.7])
    np.testing.assert_allclose(drawn[:, 1], [0.3, 0.3, 0.7, 0.3, 0.7, 0.7])  # what it has stays where it is


def test_too_many_draws_to_weigh_equally() -> None:
    rows = [row(model="a", draw=draw, quality=draw / 20) for draw in range(13)]
    rows += [row(model="b", draw=draw, quality=draw / 20) for draw in range(11)]
    drawn = world_of(rows).channels.quality[0]
    assert len(drawn) == 13
    assert sorted(np.unique(drawn[:, 1], return_counts=True)[1].tolist()) == [1] * 9 + [2] * 2


def test_halves_are_means_of_the_first_and_the_last_draws() -> None:
    rows = [row(model="a", draw=d, quality=q) for d, q in enumerate((0.0, 1.0, 0.5, 0.25))]
    rows.append(row(model="b", draw=0, quality=1))
    world = world_of(rows)
    assert world.halves is not None
    first, last = (half.quality[0] for half in world.halves)
    np.testing.assert_array_equal(first, np.array([0.5, np.nan], np.float32))
    np.testing.assert_array_equal(last, np.array([0.375, np.nan], np.float32))
    assert cross_fitted(world, Phase(Reward())) is not None
    assert world_of([row()]).halves is None


def test_arms_keep_their_parts() -> None:
    rows = [
        row(method="majority", budget=8, style="direct", dollars=0.5, tokens=100),
        row(method="majority", budget=8, style="steps", dollars=2.0, tokens=300),
        row(model="other", dollars=1.0, tokens=200),
    ]
    catalog = world_of(rows).catalog
    assert catalog.arms == (
        Arm("m", "majority", (8,), "direct"),
        Arm("m", "majority", (8,), "steps"),
        Arm("other", "single", (1,)),
    )
    assert set(catalog.feature_names) >= {"model=m", "method=majority", "style=direct", "log2_budget", "log_dollars"}
    place = catalog.feature_names.index("log_dollars")
    np.testing.assert_allclose(catalog.features[:, place], [0, 1, 0.5], atol=1e-6)
    assert len(set(catalog.descriptions)) == 3


@pytest.mark.parametrize("part", CHANNELS)
def test_every_channel_comes_through(part: str) -> None:
    world = world_of([row(**{part: 3.0}), row(query="r", **{part: 5.0})])
    assert set(world.channels.present()) == {"quality", part}
    assert getattr(world.expected, part)[:, 0].tolist() == [3, 5]


def test_cost_ends_span_the_arms() -> None:
    world = world_of([row(model=m, query=q, dollars=d * 10**q) for q in (0, 1) for m, d in (("a", 1.0), ("b", 4.0))])
    assert world.cost_ends["dollars"] == pytest.approx((5.5, 22.0))


def test_a_csv_reader_a_structured_array_and_mappings_give_the_same_world() -> None:
    text = (
        "query,model,quality,budget,dollars,group\nq1,a,0.5,1,0.01,g\nq1,b,1,4.0,0.02,g\nq2,a,,1,,h\nq2,b,0,4,0.02,h\n"
    )
    read = list(csv.DictReader(io.StringIO(text)))
    kinds = [("query", "S4"), ("model", "U4"), ("quality", "f4"), ("budget", "i8"), ("dollars", "f8"), ("group", "U4")]
    table = [("q1", "a", 0.5, 1, 0.01, "g"), ("q1", "b", 1, 4, 0.02, "g"), ("q2", "a", np.nan, 1, np.nan, "h")]
    table.append(("q2", "b", 0, 4, 0.02, "h"))
    array = np.array(table, kinds)
    frame = [  # as `to_dict("records")` gives them
        {name: value if value == value else None for name, value in zip(array.dtype.names or (), entry, strict=True)}
        for entry in table
    ]
    worlds = [world_of(rows) for rows in (iter(read), array, array.reshape(2, 2), frame)]
    assert len({uis_env.world_digest(world) for world in worlds}) == 1
    assert worlds[0].recorded.tolist() == [[True, True], [False, True]]
    assert worlds[0].provenance["holes"] == {"cells": 1, "rows without quality": 1}
    assert "1 of 4 cells without outcomes" in repr(worlds[0])


@pytest.mark.parametrize(("scale", "value", "quality"), [((1, 5), 4, 0.75), ((3, 0), 0.75, 0.75), ((-1, 1), -1, 0)])
def test_other_scales(scale: tuple[float, float], value: float, quality: float) -> None:
    world = world_of([row(quality=value)], rescale=scale)
    assert world.expected.quality[0, 0] == pytest.approx(quality)
    with pytest.raises(ValueError, match=rf"row 1: quality is 9, expected a number in \[.*{max(scale)}\] \(rescale\)"):
        from_rows([row(quality=value), row(query="r", quality=9)], rescale=scale)


BASE = [row(), row(model="n")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*BASE, {"query": "q", "model": "o"}], "row 2: field 'quality' is missing; it has query, model"),
        ([{"query": "q", "model": "o", "Quality": 1}], "row 0: unknown field 'Quality', did you mean 'quality'"),
        ([row(dolars=1)], "row 0: unknown field 'dolars', did you mean 'dollars'"),
        ([*BASE, row(query="r", quality=1.5)], r"row 2: quality is 1.5, expected a number in \[0, 1\] \(rescale="),
        ([row(quality="good")], "row 0: quality is 'good'"),
        ([row(quality=math.inf)], "row 0: quality is inf"),
        ([row(quality=10**400)], "row 0: quality is 1000"),
        ([row(quality=[1])], r"row 0: quality is \[1\]"),
        ([row(query="")], "row 0: query is '', expected a text"),
        ([row(query=None)], "row 0: query is None"),
        ([row(model=2.5)], "row 0: model is 2.5"),
        ([row(model="\ud83d")], "row 0: model is .*UTF-8"),
        ([*BASE, row(query="r", dollars=-1)], "row 2: dollars is -1, expected a number >= 0"),
        ([row(tokens=True)], "row 0: tokens is True"),
        ([row(dollars=1e300)], "row 0: dollars is 1e"),
        ([row(dollars=1), row(query="r", dollars=None)], "row 1: dollars is absent, as in 1 of 2 rows"),
        ([row(budget=0)], "row 0: budget is 0, expected an integer >= 1"),
        ([row(budget=())], r"row 0: budget is \(\), expected"),
        ([row(budget=(1, None))], r"row 0: budget is \(1, None\)"),
        ([row(budget=[1.5])], "row 0: budget is 1.5"),
        ([row(budget={1: 2})], "row 0: budget is {1: 2}"),
        ([row(draw=-1)], "row 0: draw is -1, expected an integer >= 0"),
        ([*BASE, row()], "row 2: query, arm and draw are those of row 0"),
        ([row(), row(query=1), row(query="1", draw=0)], "row 2: query, arm and draw are those of row 1"),
        ([row(group="a"), row(model="n", group="b")], "row 1: group is 'b', but 'a' in an earlier row of 'q'"),
        ([row(text="a"), row(model="n", text="b")], "row 1: text is 'b', but 'a'"),
        ([*BASE, row(query="r", quality=None)], "query 'r': no row has a quality"),
        ([], "0 rows, none of them with a quality"),
        ([row(quality=None)], "1 rows, none of them with a quality"),
        (["query"], r"row 0: str 'query', expected a mapping .*to_dict\('records'\)"),
        ({"query": ["q"]}, "rows is dict, expected an iterable of mappings"),
        (7, "rows is int"),
        ([row(text="a"), row(query="r")], "query 'r': no row has its text, but others have one"),
    ],
)
def test_errors_name_row_and_field(rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_rows(rows)


@pytest.mark.parametrize("rescale", [(1, 1), (0, math.inf), "15", (1, 2, 3), 5, (None, 1)])
def test_scales_that_are_none(rescale: Any) -> None:
    with pytest.raises(ValueError, match="rescale is"):
        from_rows([row()], rescale=rescale)


def test_further_fields_are_left_aside_and_said() -> None:
    assert world_of([row(judge="me", nothing=None)]).provenance["fields left aside"] == ["judge", "nothing"]


TWO = [row(query="b"), row(query="a")]


@pytest.mark.parametrize(
    "contexts",
    [[[1, 2], [3, 4]], np.array([[1, 2], [3, 4]], np.int8), {"a": [3, 4], "b": [1, 2], "c": [9, 9]}],
)
def test_contexts_of_queries(contexts: Any) -> None:
    world = from_rows(TWO, contexts=contexts)
    assert list(world.contexts) == ["given"]
    np.testing.assert_array_equal(world.contexts["given"], np.array([[1, 2], [3, 4]], np.float32))


def test_contexts_by_name() -> None:
    world = from_rows(TWO, contexts={"wide": [[1, 2], [3, 4]], "plain": [[1], [1]]})
    assert {name: table.shape for name, table in world.contexts.items()} == {"wide": (2, 2), "plain": (2, 1)}


@pytest.mark.parametrize(
    ("contexts", "message"),
    [
        ([[1, 2]], r"contexts: shape \(1, 2\), expected \(2, d\)"),
        ([1, 2], r"contexts: shape \(2,\)"),
        (np.ones((2, 0)), r"shape \(2, 0\)"),
        ([[1], [2, 3]], "expected numbers in rows of equal length"),
        ([["x"], ["y"]], "expected numbers"),
        ([[1], [math.nan]], "query 'a' has a number that is not finite"),
        ([[1e300], [1]], "query 'b' has a number that is not finite"),
        ({"a": [1]}, "query 'b' has none"),
        ({"a": [1], "b": [1, 2]}, r"contexts\['a'\]: shape \(1,\), expected \(d,\)"),
        ({"x": [[1]]}, r"contexts\['x'\]: shape \(1, 1\)"),
        ({}, "query 'b' has none"),
    ],
)
def test_contexts_that_do_not_fit(contexts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_rows(TWO, contexts=contexts)


def test_texts_are_embedded_where_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wordllama", reason="text features need the extra `build`")
    words = ("What is 2 + 2?", "Spell cat.", "Is 7 prime?", "Is 7 prime?", "…")
    rows = [row(query=i, text=text) for i, text in enumerate(words)]
    world = from_rows(rows)
    assert world.contexts["text"].shape[0] == 5 and np.isfinite(world.contexts["text"]).all()
    np.testing.assert_array_equal(world.contexts["text"][2], world.contexts["text"][3])
    assert "weights_sha256" in world.provenance["context"]
    assert from_rows([row(text="alone")]).contexts["text"].shape == (1, 2)

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.warns(UserWarning, match=r"uis-env\[build\]") as caught:
        world = from_rows(rows)
    assert len(caught) == 1 and world.contexts["constant"].tolist() == [[1]] * 5


def test_a_routing_benchmark_in_six_lines() -> None:
    """3,559 queries × 4 models with a judge's grade and dollars, as ParetoBandit has them, played."""
    random = np.random.default_rng(0)
    models = ["haiku", "mini", "large", "math"]
    log = [
        {"id": f"p{i}", "prompt": f"question {i}", "rewards": dict(zip(models, random.random(4), strict=True))}
        for i in range(3559)
    ]
    price = dict(zip(models, (0.001, 0.002, 0.01, 0.005), strict=True))
    # what a user writes:
    rows = (
        {"query": one["id"], "model": model, "quality": reward, "dollars": price[model]}
        for one in log
        for model, reward in one["rewards"].items()
    )
    world = uis_env.from_rows(rows, name="pareto", contexts=random.normal(size=(3559, 8)))
    assert world.channels.quality.shape == (3559, 1, 4)
    assert world.catalog.models == tuple(models)
    wanted = np.array([[one["rewards"][model] for model in models] for one in log])
    np.testing.assert_allclose(world.expected.quality, wanted, rtol=1e-6)
    env = UISEnv(world, horizon=50, cost_weight=10.0)
    env.reset(seed=0)
    assert [env.step(0)[2] for _ in range(50)] == [False] * 49 + [True]


def test_holes_are_never_offered_and_files_keep_all(tmp_path: Any) -> None:
    rows = [row(query=q, model=m, dollars=1.0) for q in "abc" for m in "xy" if (q, m) != ("b", "x")]
    world = world_of(rows, defaults={"cost": 0.1}, provenance={"licence": "CC0"})
    assert tabulate(world, [Phase(Reward())]).mask[0].tolist() == [[True, True], [False, True], [True, True]]
    uis_env.save_world(world, tmp_path / "mine")
    assert uis_env.world_digest(uis_env.load_world(tmp_path / "mine")) == uis_env.world_digest(world)
    assert world.provenance["licence"] == "CC0" and world.defaults == {"cost": 0.1}


def test_an_arm_that_was_never_graded_is_no_arm() -> None:
    assert world_of([row(), row(model="silent", quality=float("nan"))]).catalog.models == ("m",)
