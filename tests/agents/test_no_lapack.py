"""No agent calls LAPACK: batches of its calls wait for XLA's thread pool from within it, and two can hang for ever."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from agents import AGENTS
from agents.handed import make_feedback, make_full_information, make_observation
from agents.spec import Spec
from uis_env.world import Channels

KEY = jax.random.key(0)
OPTIONS: dict[str, dict[str, Any]] = {"fixed": {"arm": 0}, "hierarchical_logit_thompson": {"freeze": True}}


@pytest.mark.parametrize("name", AGENTS)
def test_no_part_of_an_agent_calls_lapack(name: str, spec: Spec) -> None:
    agent = AGENTS[name](spec, **OPTIONS.get(name, {}))
    if agent.privileged:
        return  # looks up, computes nothing
    zero, ones, dim = jnp.zeros(()), jnp.ones(3), spec.context
    context, mask, preference = jnp.ones(dim), jnp.ones(spec.arms, bool), jnp.ones(5)
    seen = make_observation(jnp.asarray(0), context, mask, preference, ones)
    told = make_feedback(seen, 0, zero, zero, Channels(*[zero] * 6))
    table = jnp.ones((40, spec.arms))
    pilot = make_full_information(
        jnp.ones((40, dim)), table > 0, preference, ones, table, table, Channels(*[table] * 6)
    )
    state = agent.init(KEY)
    parts = [partial(agent.act, KEY, state, seen), partial(agent.update, KEY, state, told)]
    parts += [] if agent.fit is None else [partial(agent.fit, KEY, state, pilot)]
    for part in parts:
        calls = jax.jit(jax.vmap(lambda _, part=part: part())).lower(jnp.arange(2)).as_text()
        assert "lapack" not in calls
