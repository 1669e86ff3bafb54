"""Constant, empty and wildly scaled columns of a context are seen before an agent is made."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest

from agents.columns import constants
from agents.spec import make_spec
from uis_env import worlds
from uis_env.bandit import Reward
from uis_env.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return worlds.load("Synthetic", queries=30, draws=2)


def with_context(world: World, *columns: object) -> World:
    random = np.random.default_rng(0)
    parts = [random.normal(size=30), random.normal(size=30), *(np.broadcast_to(np.asarray(c), 30) for c in columns)]
    return dataclasses.replace(world, contexts={"mine": np.stack(parts, axis=1).astype(np.float32)})


def test_one_warning_names_all_columns_and_the_world(world: World) -> None:
    odd = with_context(world, 0.0, 1.0, np.linspace(0, 9e5, 30), 1e-6, 0.0)
    with pytest.warns(UserWarning, match="'mine'") as caught:
        spec = make_spec(odd, Reward(), 10)
    [warning] = caught
    assert "columns 2, 6 are zero throughout" in str(warning.message)
    assert "column 4 is more than 100 times" in str(warning.message)
    assert "column 5 is less than 1/100" in str(warning.message)
    assert spec.constants == (3, 5)


def test_contexts_that_are_fine_are_not_warned_of(world: World) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in worlds.load("Recorded").contexts:
            spec = make_spec(worlds.load("Recorded"), Reward(), 10, name)
            assert spec.constants == (spec.context - 1 if name != "family" else 9,)
        assert make_spec(with_context(world), Reward(), 10).constants == ()


@pytest.mark.parametrize(("value", "expected"), [(1.0, (2,)), (-3.5, (2,)), (0.0, ())])
def test_a_constant_is_any_number_but_zero(world: World, value: float, expected: tuple[int, ...]) -> None:
    assert constants(with_context(world, value).contexts["mine"]) == expected
