"""Pilot, then the best arm: what full information on some queries is worth without any learning after it."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from agents.agent import Agent, Choice, Feedback, FullInformation, Observation
from agents.choosing import pick_best, real
from agents.spec import Spec


class Means(NamedTuple):
    """Each arm's mean reward in the pilot, (K,), and the number of queries it rests on, (K,)."""

    mean: Array
    queries: Array


def pilot_then_best(spec: Spec) -> Agent:
    """The arm with the greatest mean reward in the pilot, in every round; without a pilot all arms tie.

    Arms that the pilot never offered come last. The cost of the pilot is charged by whoever runs it.

    Example:
        >>> from agents import pilot_then_best, trial
        >>> trial(pilot_then_best, pilot=20).shape
        (2,)
    """

    def init(key: Array) -> Means:
        return Means(real(jnp.zeros(spec.arms)), real(jnp.zeros(spec.arms)))

    def act(key: Array, state: Means, observation: Observation) -> Choice:
        return pick_best(key, jnp.where(state.queries > 0, state.mean, state.mean.min() - 1.0), observation.mask)

    def update(key: Array, state: Means, feedback: Feedback) -> Means:
        return state

    def fit(key: Array, state: Means, full: FullInformation) -> Means:
        mask = real(full.mask)
        queries = state.queries + mask.sum(axis=0)
        total = state.mean * state.queries + (mask * real(full.reward)).sum(axis=0)
        return Means(total / jnp.maximum(queries, 1.0), queries)

    return Agent(init, act, update, fit)
