"""The freeze rule: the pilot's gain against brute force; without signal an agent is its arm-only learner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import check_agent, hierarchical_logit_thompson, random
from agents.agent import Agent, FullInformation
from agents.freeze import FOLDS, PENALTIES, freeze_context, pilot_gain, ridge
from agents.handed import make_feedback, make_full_information, make_observation
from agents.spec import Spec
from uis_env.world import Channels

Array = np.ndarray[Any, Any]
KEY = jax.random.key(0)
PILOT, ROUNDS, PRICE, SIGNAL = 150, 60, 0.05, 2.0


def reference(context: Array, target: Array, at: Array) -> Array:
    """(m,) predictions of a ridge regression; its penalty is that of the least leave-one-out residuals."""
    centre, scale, mean = context.mean(axis=0), context.std(axis=0), target.mean()
    scale = np.where(scale > 1e-6, scale, 1.0)
    x, x_at = (context - centre) / scale, (at - centre) / scale
    found = []
    for penalty in PENALTIES:
        solved = np.linalg.solve(x.T @ x + penalty * len(x) * np.eye(x.shape[1]), x.T)
        residual = target - mean - x @ solved @ (target - mean)
        leverage = 1 / len(x) + np.einsum("nd,dn->n", x, solved)
        found.append((np.square(residual / (1 - leverage)).sum(), -penalty, mean + x_at @ solved @ (target - mean)))
    return min(found, key=lambda one: one[:2])[2]


def logistic(z: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-z)))


def draw(spec: Spec, seed: int, count: int, signal: float) -> tuple[Array, Array]:
    """(n, D) contexts, a bias among them, and (n, K) successes; `signal` says how much arms depend on the context."""
    rng = np.random.default_rng([seed, count])
    context = rng.normal(size=(count, spec.context)).astype(np.float32)
    context[:, -1] = 1
    sign = np.where(np.arange(spec.arms) % 2, 1.0, -1.0)
    chance = logistic(signal * context[:, :1] * sign + np.linspace(-0.5, 0.5, spec.arms))
    return context, (rng.random(chance.shape) < chance).astype(np.float32)


def full(spec: Spec, context: Any, quality: Any, mask: Any = None) -> FullInformation:
    cost = jnp.broadcast_to(jnp.asarray(spec.list_cost), quality.shape)
    return make_full_information(
        context=jnp.asarray(context),
        mask=jnp.ones(quality.shape, bool) if mask is None else jnp.asarray(mask),
        preference=jnp.asarray([1.0, 0, PRICE, 0, 0]),
        prices=jnp.ones(3),
        reward=jnp.asarray(quality) - PRICE * cost,
        cost=cost,
        channels=Channels(quality, dollars=cost, tokens=cost),
    )


def player(spec: Spec, agent: Agent) -> Callable[[FullInformation | None, Any, Any], tuple[Array, Any]]:
    """A function that lets the agent fit a pilot and play T rounds: (scores (T, K), final state)."""
    conditions = (jnp.ones(spec.arms, bool), jnp.asarray([1.0, 0, PRICE, 0, 0]), jnp.ones(3))

    @jax.jit
    def run(pilot: FullInformation | None, context: Any, quality: Any) -> tuple[Any, Any]:
        state = agent.init(KEY)
        if pilot is not None:
            assert agent.fit is not None
            state = agent.fit(KEY, state, pilot)

        def step(state: Any, t: Any) -> tuple[Any, Any]:
            key = jax.random.fold_in(KEY, t)
            seen = make_observation(t, context[t], *conditions)
            choice = agent.act(key, state, seen)
            arm = choice.action
            y, cost = quality[t, arm], jnp.asarray(spec.list_cost)[arm]
            back = make_feedback(seen, arm, y - PRICE * cost, cost, Channels(y, dollars=cost, tokens=cost))
            return agent.update(key, state, back), choice.scores

        state, scores = jax.lax.scan(step, state, jnp.arange(len(context)))
        return scores, state

    return run


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), strength=st.sampled_from([0.0, 0.3, 3.0]))
def test_ridge_is_the_one_of_least_leave_one_out_residuals(seed: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    context = rng.normal(size=(40, 5))
    context[:, 2] = 1.0
    target = rng.normal(size=40) + strength * context[:, 0]
    told = rng.random(40) < 0.7
    with jax.enable_x64(True):
        found, mean = jax.jit(ridge)(jnp.asarray(context), jnp.asarray(target), jnp.asarray(told, float))
        expected = reference(context[told], target[told], context)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
        assert float(mean) == pytest.approx(target[told].mean())


@pytest.mark.parametrize("signal", [0.0, SIGNAL])
def test_the_gain_by_brute_force(spec: Spec, signal: float) -> None:
    context, quality = draw(spec, 3, 60, signal)
    mask = np.random.default_rng(0).random(quality.shape) < 0.8
    mask[np.arange(60), np.arange(60) % spec.arms] = True
    log = full(spec, context, quality, mask)
    reward, gains = np.asarray(log.reward, np.float64), []
    for fold in range(FOLDS):
        told = np.arange(60) % FOLDS != fold
        predicted, means = np.empty((60, spec.arms)), np.empty(spec.arms)
        for arm in range(spec.arms):
            rows = told & mask[:, arm]
            means[arm] = reward[rows, arm].mean()
            predicted[:, arm] = reference(context[rows], reward[rows, arm], context)
        for q in np.flatnonzero(~told):
            chosen, fixed = (np.where(mask[q], value, -np.inf).argmax() for value in (predicted[q], means))
            gains.append(reward[q, chosen] - reward[q, fixed])
    with jax.enable_x64(True):
        assert float(jax.jit(pilot_gain)(log)) == pytest.approx(np.mean(gains), abs=1e-6)
    assert (np.mean(gains) > 0.05) == (signal > 0)


def test_without_signal_most_pilots_freeze_and_with_it_none_does(spec: Spec) -> None:
    found = {}
    for signal in (0.0, SIGNAL):
        pilots = [full(spec, *draw(spec, seed, PILOT, signal)) for seed in range(100)]
        stacked = jax.tree.map(lambda *rows: jnp.stack(rows), *pilots)
        found[signal] = np.asarray(jax.jit(jax.vmap(pilot_gain))(stacked))
    assert (found[0.0] <= 0).mean() > 0.55 and found[0.0].mean() < 0.01
    assert (found[SIGNAL] > 0.1).all()
    assert float(pilot_gain(full(spec, *draw(spec, 0, 2 * FOLDS - 1, SIGNAL)))) == 0


def test_frozen_it_is_the_arm_only_learner_else_the_learner_itself(spec: Spec) -> None:
    """Bit for bit: on the same rounds as the plain agent on contexts of zeros, or on the contexts as they are."""
    plain = player(spec, hierarchical_logit_thompson(spec))
    freezing = player(spec, hierarchical_logit_thompson(spec, freeze=True))
    for signal, frozen in ((0.0, True), (SIGNAL, False)):
        pilot = full(spec, *draw(spec, 2, PILOT, signal))
        context, quality = draw(spec, 2, ROUNDS, signal)
        scores, state = freezing(pilot, context, quality)
        assert float(state.gate) == (0.0 if frozen else 1.0)
        blank = pilot._replace(context=jnp.zeros_like(pilot.context))
        arm_only, _ = plain(blank, np.zeros_like(context), quality)
        itself, _ = plain(pilot, context, quality)
        np.testing.assert_array_equal(scores, arm_only if frozen else itself)
        assert (arm_only != itself).any()
    scores, state = freezing(None, context, quality)  # without a pilot nothing is frozen
    assert float(state.gate) == 1
    np.testing.assert_array_equal(scores, plain(None, context, quality)[0])


@pytest.mark.slow
def test_it_keeps_the_contract(spec: Spec) -> None:
    check_agent(lambda spec: hierarchical_logit_thompson(spec, freeze=True), spec)


def test_only_agents_that_fit_can_be_frozen(spec: Spec) -> None:
    with pytest.raises(ValueError, match="only an agent that fits a pilot"):
        freeze_context(random(spec))
