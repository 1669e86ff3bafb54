"""Reference policies choose what they say, with what they are allowed to know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import best_fixed, cheapest, fixed, fixed_elsewhere, linucb, oracle, pilot_then_best, strongest
from agents.agent import Privileged
from agents.handed import make_full_information, make_observation
from uis_env.world import Channels

KEY = jax.random.key(0)


def act(agent, spec, mask=None, prices=None, known=None, state=None):
    mask = jnp.ones(spec.arms, bool) if mask is None else jnp.asarray(mask)
    prices = jnp.ones(3) if prices is None else jnp.asarray(prices)
    seen = make_observation(jnp.asarray(0), jnp.zeros(spec.context), mask, jnp.ones(5), prices, known)
    return agent.act(KEY, agent.init(KEY) if state is None else state, seen)


def test_cheapest_follows_prices_and_masks(spec_factory):
    spec = spec_factory(list_cost=np.array([0.3, 0.2, 0.5, 0.6, 0.4, 1.0], np.float32))
    assert act(cheapest(spec), spec).action == 1
    assert act(cheapest(spec), spec, mask=np.arange(6) != 1).action == 0
    assert act(cheapest(spec), spec, prices=[1.0, 9.0, 0.1]).action == 2


def test_strongest_and_fixed(spec):
    np.testing.assert_allclose(act(strongest(spec), spec).propensities, [0, 0, 0.5, 0, 0, 0.5])
    assert act(fixed(spec, 4), spec).action == 4
    lost = act(fixed(spec, 4), spec, mask=np.arange(6) != 4)
    np.testing.assert_allclose(lost.propensities, [0.2] * 4 + [0, 0.2], rtol=1e-6)
    with pytest.raises(ValueError, match=r"arm is 6, expected 0\.\.5"):
        fixed(spec, 6)


def test_privileged_references_read_their_own_column(spec):
    known = Privileged(*(jnp.asarray(row, jnp.float32) for row in np.eye(6)[[1, 3, 5]]))
    for factory, arm in ((oracle, 1), (best_fixed, 3), (fixed_elsewhere, 5)):
        agent = factory(spec)
        assert agent.privileged
        assert act(agent, spec, known=known).action == arm
        with pytest.raises(ValueError, match=r"needs Observation\.privileged"):
            act(agent, spec)
    assert not linucb(spec).privileged


def test_oracle_tells_values_apart_that_differ_in_the_last_bit(spec):
    value = np.full(6, 0.5, np.float32)
    value[2] = np.nextafter(value[2], np.float32(1))
    known = Privileged(*(jnp.asarray(value) for _ in range(3)))
    assert act(oracle(spec), spec, known=known).propensities[2] == 1


def test_pilot_then_best_plays_the_best_arm_of_the_pilot_for_ever(spec):
    random = np.random.default_rng(0)
    reward, mask = random.random((9, 6)), random.random((9, 6)) < 0.7
    mask[:, 4] = False
    mean = np.where(mask, reward, 0).sum(axis=0) / np.maximum(mask.sum(axis=0), 1)
    table = jnp.asarray(reward, jnp.float32)
    log = make_full_information(jnp.zeros((9, 4)), mask, jnp.ones(5), jnp.ones(3), table, table, Channels(table))
    agent = pilot_then_best(spec)
    state = agent.fit(KEY, agent.init(KEY), log)
    order = np.argsort(-mean[[0, 1, 2, 3, 5]])
    assert act(agent, spec, state=state).action == np.array([0, 1, 2, 3, 5])[order[0]]
    assert act(agent, spec, state=state, mask=np.arange(6) >= 4).action == 5
    assert agent.update(KEY, state, None) is state
    np.testing.assert_allclose(act(agent, spec).propensities, 1 / 6, rtol=1e-6)
