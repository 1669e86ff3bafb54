"""Regressions that forget, and constants: against brute force in float64."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.fusion import fuse, joint_rows
from agents.regression import Regression, disjoint, regression, shared
from agents.spec import Spec

DISCOUNT, RIDGE = 0.9, 0.7


@pytest.mark.parametrize("exact", [False, True])
def test_the_mean_of_an_arm_that_is_not_played_forgets(exact: bool) -> None:
    """D-LinUCB with one feature: discount^t / (1 + discount^t)."""
    model = disjoint(2, 1, 1.0, discount=0.98, exact=exact)
    x = jnp.ones(1)
    state = model.observe(model.init(), x, jnp.int32(0), jnp.float32(1.0), jnp.int32(0))
    means = [float(model.predict(state, x, jnp.int32(t))[0][0]) for t in (1, 50, 200, 1000)]
    np.testing.assert_allclose(means, [0.4949, 0.2670, 0.0173, 0.0], atol=5e-5)
    assert float(model.predict(state, x, jnp.int32(50))[0][1]) == 0


def history(seed: int, dim: int, arms: int = 3, count: int = 30) -> tuple[Any, ...]:
    """Contexts, arms, targets, rounds (some of which had no outcome), and the order in which outcomes are delivered."""
    random = np.random.default_rng(seed)
    rounds = np.sort(random.choice(2 * count, count, replace=False))
    order = np.argsort(rounds + random.choice([0, 0, 0, 5], count), kind="stable")  # some are late
    return random.normal(size=(count, dim)), random.integers(arms, size=count), random.normal(size=count), rounds, order


def brute_force(phi: Any, y: Any, age: Any, x: Any) -> tuple[float, float]:
    """The mean and deviation of x'w where an observation of age s counts DISCOUNT^s."""
    weight = DISCOUNT**age
    precision = RIDGE * np.eye(phi.shape[1]) + (phi * weight[:, None]).T @ phi
    return float(x @ np.linalg.solve(precision, phi.T @ (weight * y))), float(
        np.sqrt(x @ np.linalg.solve(precision, x))
    )


@partial(jax.jit, static_argnames="model")
def learn(model: Regression, xs: Any, actions: Any, ys: Any, rounds: Any) -> Any:
    """The belief after outcomes delivered in this order."""

    def step(state: Any, row: Any) -> tuple[Any, None]:
        return model.observe(state, *row), None

    return jax.lax.scan(step, model.init(), (xs, actions, ys, rounds))[0]


predict = jax.jit(lambda model, *args: jnp.stack(model.predict(*args)), static_argnums=0)
EXACT = {(dim, exact): disjoint(3, dim, RIDGE, DISCOUNT, exact=exact) for dim in (1, 3) for exact in (False, True)}


@pytest.mark.parametrize("wait", [1, 7])
@given(seed=st.integers(0, 2**16), dim=st.sampled_from([1, 3]))
@settings(max_examples=10, deadline=None)
def test_exact_forgetting_is_d_linucb_whenever_outcomes_are_delivered(wait: int, seed: int, dim: int) -> None:
    xs, actions, ys, rounds, order = history(seed, dim)
    now = int(rounds.max()) + wait
    with jax.enable_x64(True):
        state = learn(EXACT[dim, True], xs[order], actions[order], ys[order], rounds[order])
        x = np.ones(dim)
        found, quick = (np.array(predict(EXACT[dim, exact], state, x, now)) for exact in (True, False))
    for arm in range(3):
        mine = actions == arm
        expected = brute_force(xs[mine], ys[mine], now - rounds[mine], x)
        np.testing.assert_allclose(found[:, arm], expected, rtol=1e-9, atol=1e-12)
        assert quick[1, arm] >= expected[1] - 1e-12  # an upper bound
        if dim == 1 or (mine.any() and wait == 1 and rounds[mine].max() == rounds.max()):  # the arm just played
            np.testing.assert_allclose(quick[:, arm], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("wait", [1, 7])
@pytest.mark.parametrize("seed", [0, 1])
def test_shared_models_forget_by_the_round(spec: Spec, wait: int, seed: int) -> None:
    xs, actions, ys, rounds, order = history(seed, spec.context)
    now = int(rounds.max()) + wait
    with jax.enable_x64(True):
        model = shared(spec, "kronecker", RIDGE, DISCOUNT)
        state = learn(model, xs[order], actions[order], ys[order], rounds[order])
        found = np.array(predict(model, state, xs[0], now))
        fused = fuse(spec, "kronecker")
        rows = np.asarray(joint_rows(fused, jnp.asarray(xs))).reshape(len(xs), spec.arms, -1)
    phi = rows[np.arange(len(xs)), actions]
    for arm in range(spec.arms):
        expected = brute_force(phi, ys, now - 1 - rounds, rows[0, arm])
        np.testing.assert_allclose(found[:, arm], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("fusion", ["disjoint", "concat", "kronecker"])
def test_an_intercept_is_a_constant_appended_once(spec_factory: Any, fusion: str) -> None:
    xs, actions, ys, _, _ = history(3, 4)
    ones = np.concatenate([xs, np.ones((len(xs), 1))], axis=1)

    def played(intercept: bool, constants: tuple[int, ...], xs: Any) -> Any:
        spec = spec_factory(context=xs.shape[1], constants=constants)
        model = regression(spec, fusion, RIDGE, intercept=intercept)
        state = learn(model, xs, actions, ys, np.zeros(len(xs), int))
        table = jnp.ones((len(xs), spec.arms))
        full = jax.jit(model.fit)(model.init(), xs, table, table)
        return np.concatenate([predict(model, state, xs[0], 1), predict(model, full, xs[0], 1)])

    with jax.enable_x64(True):
        appended = played(True, (), xs)
        np.testing.assert_allclose(appended, played(False, (), ones), rtol=1e-9)
        np.testing.assert_allclose(appended, played(True, (4,), ones), rtol=1e-9)  # it holds one: no second
        assert not np.allclose(appended, played(False, (), xs))
