"""check_agent accepts what keeps the contract and says, of what breaks it, which promise."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import check_agent, linucb
from agents.agent import Agent, Choice
from agents.choosing import masked, pick_best, uniform_policy

COUNT = itertools.count()


def means(spec):
    """A correct minimal agent: the arm with the best mean reward so far."""

    def init(key):
        return jnp.zeros((2, spec.arms), jnp.float32)

    def act(key, state, observation):
        return pick_best(key, state[0] / jnp.maximum(state[1], 1.0), observation.mask)

    def update(key, state, feedback):
        return state.at[:, feedback.action].add(jnp.stack([feedback.reward, jnp.ones(())]))

    return Agent(init, act, update)


def with_init(init):
    return lambda spec: means(spec)._replace(init=init)


def with_act(change):
    """The agent whose choice goes through `change(choice, key, observation)`."""

    def make(spec):
        inner = means(spec)
        return inner._replace(act=lambda key, state, seen: change(inner.act(key, state, seen), key, seen))

    return make


def with_update(change):
    def make(spec):
        inner = means(spec)
        return inner._replace(update=lambda key, state, told: change(inner.update(key, state, told)))

    return make


def impure(choice, key, seen):
    return choice._replace(scores=choice.scores + next(COUNT))


def branching(choice, key, seen):
    return choice if choice.action >= 0 else None


def alone(choice, key, seen):
    like = jax.ShapeDtypeStruct(choice.scores.shape, choice.scores.dtype)
    return choice._replace(scores=jax.pure_callback(np.asarray, like, choice.scores))


def unlike_compiled(choice, key, seen):
    shift = 1.0 if isinstance(choice.action, jax.core.Tracer) else 0.0
    return choice._replace(scores=choice.scores + shift)


BROKEN = {
    "the factory returned tuple, expected agents.Agent": lambda spec: tuple(means(spec)),
    r"init: state\['n'\] is a int, expected a JAX array": with_init(lambda key: {"n": 3}),
    r"init: state.* looks like a random key": with_init(lambda key: {"key": key}),
    r"init: state\['raw'\] looks like a random key": with_init(lambda key: {"raw": jax.random.key_data(key)}),
    r"init: state.* is weakly typed": with_init(lambda key: jnp.asarray(1.0)),
    "act returned tuple, expected agents.Choice": with_act(lambda choice, key, seen: tuple(choice)),
    r"act: action is float32\[\], expected int32\[\]": with_act(
        lambda choice, key, seen: choice._replace(action=choice.action.astype(jnp.float32))
    ),
    r"act: action is int32\[1\], expected int32\[\]": with_act(
        lambda choice, key, seen: choice._replace(action=choice.action[None])
    ),
    r"act: scores is float32\[2\], expected float32\[6\]": with_act(
        lambda choice, key, seen: choice._replace(scores=choice.scores[:2])
    ),
    "act: action 0 is masked; the arms on offer are": with_act(
        lambda choice, key, seen: choice._replace(action=jnp.zeros((), jnp.int32))
    ),
    "act: action 7 is not an arm": with_act(
        lambda choice, key, seen: choice._replace(action=jnp.full((), 7, jnp.int32))
    ),
    "act: scores of masked arms must be -inf": with_act(
        lambda choice, key, seen: choice._replace(scores=jnp.zeros_like(choice.scores))
    ),
    "act: scores hold NaN": with_act(
        lambda choice, key, seen: choice._replace(scores=masked(choice.scores * jnp.nan, seen.mask))
    ),
    "act: propensities of masked arms must be 0": with_act(
        lambda choice, key, seen: choice._replace(propensities=jnp.full_like(choice.scores, 1 / 6))
    ),
    "act: propensities sum to 0.5": with_act(
        lambda choice, key, seen: choice._replace(propensities=uniform_policy(seen.mask) / 2)
    ),
    "act: propensities must be all known or all NaN": with_act(
        lambda choice, key, seen: choice._replace(propensities=jnp.where(seen.mask, choice.propensities, jnp.nan))
    ),
    r"update: state became float32\[2\], expected float32\[2, 6\]": with_update(lambda state: state[:, 0]),
    r"update: state became int32\[2, 6\], expected float32\[2, 6\]": with_update(lambda state: state.astype(jnp.int32)),
    "update changed the structure of the state": with_update(lambda state: (state, state)),
    r"fit: state became float32\[6\], expected float32\[2, 6\]": lambda spec: means(spec)._replace(
        fit=lambda key, state, full: state[0]
    ),
    "a second run with the same keys differs from the first": with_act(impure),
    "the agent cannot be compiled": with_act(branching),
    "the agent cannot be mapped over seeds": with_act(alone),
    "the run differs from the plain one": with_act(unlike_compiled),
}


def test_a_correct_agent_passes_made_or_as_a_factory(spec):
    check_agent(means, spec)
    check_agent(means(spec), spec)


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_agent_is_refused_with_its_reason(spec, message):
    with pytest.raises(ValueError, match=message):
        check_agent(BROKEN[message], spec)


def test_a_sampled_action_outside_its_propensities_is_not_hidden_by_masks(spec):
    """An agent that ignores the mask is caught even if its scores are fine."""

    def act(key, state, seen):
        scores = state[0]
        return Choice(jnp.argmax(scores).astype(jnp.int32), uniform_policy(seen.mask), masked(scores, seen.mask))

    with pytest.raises(ValueError, match="is masked"):
        check_agent(lambda spec: means(spec)._replace(act=act), spec)


def test_privileged_agents_are_given_what_they_need(spec):
    def act(key, state, seen):
        assert seen.privileged is not None
        return pick_best(key, seen.privileged.expected, seen.mask)

    check_agent(lambda spec: means(spec)._replace(act=act, privileged=True), spec)


def test_specs_without_optional_channels(spec_factory):
    check_agent(linucb, spec_factory(channels=("quality",), list_cost=np.zeros(6, np.float32)))
