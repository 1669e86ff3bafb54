"""What a choice will cost, learned apart from its quality: cost, tokens, latency and verifier score of every arm.

The reward is `quality - penalty` with a penalty that is a known function of the preference, the prices and these
channels, so a change of either needs no new learning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from agents.agent import Feedback, FullInformation
from agents.choosing import real
from agents.posterior import Gaussian, compensated, observe, prior
from agents.regression import change, observe_all, side_by_side
from agents.spec import Spec, known_prices
from uis_env.bandit import PREFERENCE

WEIGHT = {name: place for place, name in enumerate(PREFERENCE)}
"""The place of each weight in a preference."""


class Costs(NamedTuple):
    """What is believed of the priced channels.

    Attributes:
        arms: C channels per arm, side by side: mean (K, C, d), one root for all channels of an arm.
        excess: () summed multiples of list costs over all rounds, less the ones that were expected.
        rounds: () rounds that count in it.
    """

    arms: Gaussian
    excess: Array
    rounds: Array


class Penalty(NamedTuple):
    """The learned part of the reward that is not quality.

    Attributes:
        init: () -> beliefs.
        predict: (beliefs, x (D,), preference (W,), prices (M,)) -> (K,) expected penalty.
        observe: (beliefs, Feedback) -> beliefs.
        fit: (beliefs, FullInformation) -> beliefs.
    """

    init: Callable[[], Costs]
    predict: Callable[[Costs, Array, Array, Array], Array]
    observe: Callable[[Costs, Feedback], Costs]
    fit: Callable[[Costs, FullInformation], Costs]


def penalty(
    spec: Spec, columns: tuple[int, ...] | None = None, ridge: float | Array = 1.0, intercept: bool = True
) -> Penalty:
    """Ridge per arm of every priced channel on [1, some columns of the context].

    The cost is learned as a multiple of the arm's list cost; a log cost is learned as the log of that multiple. List
    costs rest on nominal lengths, so all of them can be off by one factor, and arms that were not tried yet must not
    look several times as expensive as those that were: the prior mean of the multiple is the mean of all multiples seen
    so far, with one of 1 before them (empirical Bayes). With A = ridge I + Z'Z of an arm, moving its prior mean by s
    moves its prediction at z by s · ridge · z'A^-1 e_0. Where no list cost is known the prior mean is 0, and a warning
    says so. The other channels have prior mean 0. All are means: no bonus, no draws.

    Args:
        spec: sizes, list costs and the reward's cost transform.
        columns: of the context; a prompt's length says most, and costs have heavy tails. None takes all.
        ridge: prior precision of each weight.
        intercept: the constant is the only one: columns that are constant themselves (`Spec.constants`) are left out.
            False regresses on one beside all columns given.

    Raises:
        ValueError: if a column is not one of the context's.
    """
    columns = tuple(range(spec.context)) if columns is None else tuple(columns)
    for column in columns:
        if not 0 <= column < spec.context:
            raise ValueError(f"cost column {column} is not one of the context's 0..{spec.context - 1}")
    if intercept:
        columns = tuple(column for column in columns if column not in spec.constants)
    others = tuple(name for name in ("tokens", "latency", "score") if name in spec.channels)
    known = known_prices(spec, "learned costs start flat there") & (spec.list_cost > 0)
    unit = np.where(known, spec.list_cost, 1.0)
    low, high = (0.0, 1.0) if spec.transform == "linear" else spec.ends
    log = spec.transform == "log"
    expected = 0.0 if log else 1.0

    def regressors(x: Array) -> Array:
        return jnp.concatenate([jnp.ones(1, x.dtype), x[jnp.array(columns, int)]])

    def targets(source: Feedback | FullInformation, price: Array, scale: Array) -> Array:
        """(..., C) what is regressed, for matching prices and list costs."""
        base = real(source.cost) / jnp.where(price > 0, price, 1.0) / scale
        if log:
            # Costs far outside the ends change nothing after clipping; a zero has no log.
            base = jnp.log(jnp.clip(base, low / scale / 10, high / scale * 10))
        return jnp.stack([base, *(real(getattr(source.channels, name)) for name in others)], axis=-1)

    def init() -> Costs:
        dim = 1 + len(columns)
        belief = side_by_side(prior(ridge, spec.arms, dim))
        mean = jnp.zeros((spec.arms, 1 + len(others), dim), belief.mean.dtype)
        belief = Gaussian(mean if log else mean.at[:, 0, 0].set(real(known)), belief.root)
        none = jnp.zeros((), belief.mean.dtype)
        return Costs(compensated(belief, spec.horizon), none, none)

    def predict(state: Costs, x: Array, preference: Array, prices: Array) -> Array:
        preference, price = real(preference), real(prices)[spec.model]
        z = regressors(real(x))
        values = state.arms.mean @ z
        common = state.excess / (state.rounds + 1)
        pull = ridge * (jnp.einsum("ckr,c->kr", state.arms.root, z) * state.arms.root[0]).sum(axis=1)
        base = values[:, 0] + jnp.where(known, common * pull, 0.0)
        if log:
            cost = (base + jnp.log(price * unit) - math.log(low)) / (math.log(high) - math.log(low))
        else:
            cost = (base * price * unit - low) / (high - low)
        if spec.transform != "linear":
            cost = jnp.clip(cost, 0.0, 1.0)
        total = preference[WEIGHT["cost"]] * cost
        for place, name in enumerate(others, start=1):
            sign = -1.0 if name == "score" else 1.0
            total += sign * preference[WEIGHT[name]] * values[:, place]
        return total

    def learn(state: Costs, feedback: Feedback) -> Costs:
        arm = feedback.action
        price = real(feedback.prices)[jnp.asarray(spec.model)[arm]]
        z = regressors(real(feedback.context))
        told = real(price > 0)  # what is free for now does not tell what it costs otherwise
        target = targets(feedback, price, real(unit)[arm])
        counts = told * real(known)[arm]
        return Costs(
            change(state.arms, arm, lambda own: observe(own, z, told * (target - own.mean @ z), told)),
            state.excess + counts * (target[0] - expected),
            state.rounds + counts,
        )

    def fit(state: Costs, full: FullInformation) -> Costs:
        zs = jax.vmap(regressors)(real(full.context))
        price = real(full.prices)[spec.model]
        ys, paid = targets(full, price, real(unit)), real(full.mask & (price > 0))
        counts = paid * real(known)
        return Costs(
            observe_all(state.arms, zs, ys, paid),
            state.excess + (counts * (ys[..., 0] - expected)).sum(),
            state.rounds + counts.sum(),
        )

    return Penalty(init, predict, learn, fit)
