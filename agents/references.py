"""Reference policies: they learn nothing. Oracles and hindsight see what no agent sees in production."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array

from agents.agent import Agent, Choice, Observation, Privileged
from agents.choosing import pick_best, pick_uniform, real
from agents.ranges import ranged
from agents.spec import Spec, known_prices


def random(spec: Spec) -> Agent:
    """Every arm on offer with the same probability.

    Example:
        >>> from agents import random, trial
        >>> trial(random).shape
        (2,)
    """
    return _memoryless(lambda key, observation: pick_uniform(key, observation.mask))


@ranged
def fixed(spec: Spec, arm: int) -> Agent:
    """Always one arm; uniformly any other while it is not on offer.

    Raises:
        ValueError: if there is no such arm.

    Example:
        >>> from agents import fixed, trial
        >>> trial(fixed, arm=3).shape
        (2,)
    """
    if not 0 <= arm < spec.arms:
        raise ValueError(f"arm is {arm}, expected 0..{spec.arms - 1}")
    return _ranked(lambda observation: real(jnp.arange(spec.arms) == arm))


def cheapest(spec: Spec) -> Agent:
    """The arm on offer with the lowest list cost at the current prices (public knowledge, no learning).

    Arms without a list price come last; where none has one, all arms are alike, and a warning says so.

    Example:
        >>> from agents import cheapest, trial
        >>> trial(cheapest).shape
        (2,)
    """
    known = known_prices(spec, "cheapest ranks such arms last")
    cost = real(np.where(known, spec.list_cost, 0.0))

    last = float(np.finfo(np.float32).min) if known.any() else 0.0

    def score(observation: Observation) -> Array:
        return jnp.where(known, -cost * real(observation.prices)[spec.model], last)

    return _ranked(score)


def strongest(spec: Spec) -> Agent:
    """The arm on offer that public knowledge holds for the strongest, whatever it costs.

    Example:
        >>> from agents import strongest, trial
        >>> trial(strongest).shape
        (2,)
    """
    return _ranked(lambda observation: real(spec.list_quality))


def best_fixed(spec: Spec) -> Agent:
    """The best fixed arm of these very rounds, known only in hindsight.

    Example:
        >>> from agents import best_fixed, trial
        >>> trial(best_fixed).shape
        (2,)
    """
    return _all_knowing(lambda known: known.hindsight)


def fixed_elsewhere(spec: Spec) -> Agent:
    """One fixed arm, chosen on other queries with full information.

    Example:
        >>> from agents import fixed_elsewhere, trial
        >>> trial(fixed_elsewhere).shape
        (2,)
    """
    return _all_knowing(lambda known: known.elsewhere)


def oracle(spec: Spec) -> Agent:
    """The arm with the highest expected reward for this query; optimistic where pools are finite.

    Example:
        >>> from agents import oracle, trial
        >>> trial(oracle).shape
        (2,)
    """
    return _all_knowing(lambda known: known.expected)


def _memoryless(act: Callable[[Array, Observation], Choice], privileged: bool = False) -> Agent:
    return Agent(
        init=lambda key: (),
        act=lambda key, state, observation: act(key, observation),
        update=lambda key, state, feedback: state,
        privileged=privileged,
    )


def _ranked(score: Callable[[Observation], Array]) -> Agent:
    return _memoryless(lambda key, observation: pick_best(key, score(observation), observation.mask, exact=True))


def _all_knowing(score: Callable[[Privileged], Array]) -> Agent:
    def act(key: Array, observation: Observation) -> Choice:
        if observation.privileged is None:
            raise ValueError("this reference needs Observation.privileged; run it with the driver")
        return pick_best(key, real(score(observation.privileged)), observation.mask, exact=True)

    return _memoryless(act, privileged=True)
