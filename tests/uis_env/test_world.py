import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uis_env.arms import Arm, ArmCatalog
from uis_env.files import WriteError, atomic_write
from uis_env.world import Channels, World, fill_unrecorded, mean_ends

Q, R, K = 3, 2, 2


def make_world(**changes):
    rng = np.random.default_rng(0)
    drawn = Channels(
        quality=rng.integers(0, 2, (Q, R, K)).astype(np.float32),
        dollars=rng.random((Q, R, K), np.float32),
        tokens=rng.integers(1, 9, (Q, R, K)).astype(np.float32),
    )
    expected = Channels(**{name: array.mean(axis=1) for name, array in drawn.present().items()})
    half = expected._replace(quality=np.array([[0, np.nan]] * Q, np.float32))
    parts = {
        "name": "Tiny",
        "simulated": True,
        "catalog": ArmCatalog(
            arms=(Arm("a", "single", (1,)), Arm("a", "best_of_n", (2,))),
            features=np.eye(2, dtype=np.float32),
            feature_names=("x", "y"),
            descriptions=("eins", "zwei ü"),
        ),
        "contexts": {"plain": np.ones((Q, 1), np.float32), "wide": rng.random((Q, 4), np.float32)},
        "channels": drawn,
        "expected": expected,
        "recorded": np.ones((Q, K), bool),
        "query_ids": ("q0", "q1", "q2"),
        "groups": ("f", "f", "g"),
        "halves": (half, expected),
        "cost_ends": {"dollars": (0.25, 0.75)},
        "defaults": {"cost": 0.5},
        "provenance": {"source": "made up"},
    }
    return World(**(parts | changes))


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    atomic_write(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(WriteError, match=r"file cannot be written: disk full"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_contexts_by_name():
    world = make_world()
    assert world.context() is world.contexts["plain"]
    assert world.context("wide") is world.contexts["wide"]
    with pytest.raises(ValueError, match="no context 'tall'; it has plain, wide"):
        world.context("tall")


def bad(channel, value, where=(0, 0, 0)):
    array = getattr(make_world().channels, channel).copy()
    array[where] = value
    return {"channels": make_world().channels._replace(**{channel: array})}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (bad("quality", 1.5), r"quality leaves \[0, 1\]"),
        (bad("quality", np.nan), "quality holds numbers that are not finite"),
        (bad("dollars", -1), "dollars is negative"),
        (bad("tokens", np.inf), "tokens holds numbers that are not finite"),
        ({"recorded": np.ones((Q, K + 1), bool)}, r"recorded is bool\[3, 3\], expected bool\[3, 2\]"),
        ({"recorded": np.ones((Q, K))}, r"recorded is float64\[3, 2\]"),
        ({"contexts": {}}, "at least one context"),
        ({"contexts": {"c": np.ones((Q, 2))}}, "context 'c' is float64"),
        ({"contexts": {"c": np.full((Q, 2), np.inf, np.float32)}}, "context 'c' holds numbers that are not finite"),
        ({"contexts": {"c": np.ones((Q + 1, 2), np.float32)}}, r"context 'c' is float32\[4, 2\]"),
        ({"expected": make_world().expected._replace(tokens=None)}, "channel tokens has no expectation"),
        ({"expected": make_world().expected._replace(quality=np.ones((Q, K)))}, "expected quality is float64"),
        ({"halves": (make_world().channels, make_world().expected)}, "half 0 of quality"),
        ({"contexts": {"c": np.ones((), np.float32)}}, "context 'c' is float32"),
        ({"contexts": {"c": np.ones(Q, np.float32)}}, "context 'c' has 1 axes"),
        ({"cost_ends": {"dollars": (np.nan, 1)}}, "cost ends of 'dollars' are"),
        ({"cost_ends": {"dollars": (2, 1)}}, "cost ends of 'dollars' are"),
        ({"cost_ends": {"tokens": (1, 2)}}, "cost ends of 'tokens' are"),
        ({"orders": (np.zeros((Q, R, 1), np.int32),)}, "0 pools and 1 orders"),
        ({"groups": ("f",)}, "1 groups for 3 queries"),
        ({"query_ids": ("q", "q", "r")}, "query_ids repeat"),
        ({"channels": Channels(np.ones((Q, K), np.float32))}, "quality has 2 axes"),
        ({"channels": Channels(np.ones((Q, R, 5), np.float32))}, "quality has 5 arms, the catalog 2"),
        ({"channels": make_world().channels._replace(dollars=np.ones((Q, R, 5), np.float32))}, "dollars is float32"),
    ],
)
def test_parts_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=f"world 'Tiny': .*{message}"):
        replace(make_world(), **changes)


def test_an_empty_world_is_refused():
    none = Channels(np.ones((0, R, K), np.float32))
    with pytest.raises(ValueError, match="no query"):
        make_world(channels=none, expected=none, query_ids=(), groups=(), recorded=np.ones((0, K), bool), halves=None)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_unrecorded_cells_become_zeros_and_a_mask(data):
    absent = np.array(data.draw(st.lists(st.booleans(), min_size=Q * K, max_size=Q * K))).reshape(Q, K)
    quality, dollars = np.ones((Q, R, K)), np.full((Q, R, K), 0.5)
    for array in (quality, dollars):
        array[np.broadcast_to(absent[:, None], array.shape)] = np.nan
    channels, recorded = fill_unrecorded(Channels(quality, dollars=dollars), "file")
    np.testing.assert_array_equal(recorded, ~absent)
    assert channels.quality.dtype == np.float32
    np.testing.assert_array_equal(channels.quality, np.where(absent, 0, 1)[:, None].repeat(R, axis=1))
    np.testing.assert_array_equal(channels.dollars, np.where(absent, 0, 0.5)[:, None].repeat(R, axis=1))


@settings(deadline=None)
@given(st.integers(0, Q - 1), st.integers(0, R - 1), st.integers(0, K - 1), st.booleans())
def test_a_partly_recorded_cell_is_an_error(q, r, k, in_quality):
    quality, dollars = np.ones((Q, R, K)), np.ones((Q, R, K))
    (quality if in_quality else dollars)[q, r, k] = np.nan
    with pytest.raises(ValueError, match=rf"file: query {q}, arm {k} is recorded in only some .*\(1 such cells\)"):
        fill_unrecorded(Channels(quality, dollars=dollars), "file")


def test_cost_ends_are_positive_arm_means():
    dollars = np.array([[0, 1, 4], [0, 3, 8]], np.float32)
    flat = np.ones((2, 3), np.float32)
    assert mean_ends(Channels(flat, dollars=dollars, eflops=flat, tokens=dollars)) == {"dollars": (2.0, 6.0)}
