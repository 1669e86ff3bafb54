"""The frozen split: a quarter of every group, the same whatever the order of the rows."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uis_env import in_test_split, worlds


def world(groups, query_ids):
    return SimpleNamespace(groups=tuple(groups), query_ids=tuple(query_ids))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_every_group_gives_a_quarter_to_within_one_whatever_the_order(groups, random):
    ids = [f"q{i}" for i in range(len(groups))]
    test = in_test_split(world(groups, ids))
    assert abs(test.sum() - len(ids) / 4) < 1
    for group in set(groups):
        mine = np.array([g == group for g in groups])
        assert abs(test[mine].sum() - mine.sum() / 4) <= 1
    order = list(range(len(ids)))
    random.shuffle(order)
    shuffled = in_test_split(world([groups[i] for i in order], [ids[i] for i in order]))
    np.testing.assert_array_equal(shuffled, test[order])


@pytest.mark.parametrize("name", ["Recorded", "Synthetic", "TreeSearch", "LatencyAware"])
def test_shipped_worlds_are_split_in_every_group(name):
    made = worlds.load(name)
    test = in_test_split(made)
    groups = np.array(made.groups)
    assert all(0 < test[groups == group].mean() < 1 for group in set(made.groups))


def test_the_split_of_the_recorded_world_is_frozen():
    made = worlds.load("Recorded")
    test = in_test_split(made)
    chosen = "\n".join(sorted(np.array(made.query_ids)[test]))
    assert test.sum() == 95
    assert hashlib.sha256(chosen.encode()).hexdigest()[:16] == "2d77d02299b13372"


def test_ids_need_not_be_encodable():
    assert in_test_split(world(["g"] * 4, ["\ud800", "b", "c", "d"])).sum() == 1
