"""UniScale: LinUCB with one parameter vector over a joint representation of query and arm."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from agents.agent import Agent, Choice, Feedback, FullInformation, Observation
from agents.choosing import pick_best, real
from agents.fusion import coordinates, unit_features
from agents.posterior import Gaussian
from agents.priced import WEIGHT, Costs, penalty
from agents.ranges import ranged
from agents.regression import shared
from agents.spec import Spec
from agents.wrappers import warm_up


class Learned(NamedTuple):
    """What is believed of the pay-off, and of each arm's cost (None where cost is part of the pay-off)."""

    payoff: Gaussian
    cost: Costs | None


@ranged
def uniscale(
    spec: Spec,
    alpha: float | Array = 1.0,
    ridge: float | Array = 1.0,
    warmup: int = 50,
    fusion: str = "concat",
    semantics: bool = True,
    dense_feedback: bool = True,
    cost_model: bool = False,
    discount: float | Array = 1.0,
) -> Agent:
    """UniScale (arXiv 2605.30898): one LinUCB over query and arm, argmax_a phi'w + alpha sqrt(phi' A^-1 phi).

    `phi = phi(x, a)` joins the query's features x and the arm's features f(a), `spec.features`: the text of its
    description (`agents.text`), or the catalog's numbers. `A = ridge I + sum phi phi'` over all rounds, whatever the
    arm, so that a round with one arm teaches about all that resemble it; `w = A^-1 sum phi r`, by rank-one updates.
    The paper has alpha = 1, 50 random rounds and one vector w; ridge, encoder, dimension and fusion are not published:
    here x and f(a) each get length one and joint vectors then get length one too (on average, for "hadamard"), as text
    encoders return them. Scale matters, because alpha, ridge and the length of phi are one knob. Where query features
    are simulated (the tree-search world), query and arm cannot share an encoder, as they do in the paper.

    A round costs O(d^2) to meet the query and to learn, and O(min(d E K, E^2 (d + K))) to score K arms with E = 1 + F
    (`agents.fusion`); d = D + F for "concat", (1 + F) D for "kronecker". Measured on one core of
    an AMD EPYC, with the 288 and the 1152 arms of `UIS/TreeSearch-v0` and its 25 query features: concat 8 and 29 us
    (d = 39, 47), kronecker 46 and 118 us (d = 375, 575).

    Args:
        spec: sizes, arm features, list costs and the reward's cost transform.
        alpha: width of the bonus, in standard deviations of unit observation noise.
        ridge: prior precision of each weight.
        warmup: rounds of uniformly random arms.
        fusion: "concat", [x, f]: no query can change the ranking of arms, but it explains part of the noise;
            "kronecker", x times [1, f]; "hadamard", x times f elementwise, f turned at random into D dimensions.
        semantics: False takes one indicator per arm for f: nothing is learned about arms that were not played.
        dense_feedback: False learns from the reward without the verifier's score, `r - w2 score`.
        cost_model: True learns the cost apart: each arm's own, from its list cost on, and the shared vector learns the
            pay-off before cost. Changes of price then act at once.
        discount: in (0, 1]; the factor per observation on what was learned, at O(d^3) a round below 1.

    Raises:
        ValueError: if there is no such fusion, or arm ids are to be fused by products.

    Example:
        >>> from agents import uniscale, trial
        >>> trial(uniscale, warmup=20).shape
        (2,)
    """
    if not semantics and fusion != "concat":
        raise ValueError(f"fusion is {fusion!r}; without semantics it can only be 'concat'")
    if fusion not in ("concat", "kronecker", "hadamard"):
        raise ValueError(f"fusion is {fusion!r}, expected 'concat', 'kronecker' or 'hadamard'")
    if fusion == "hadamard":
        spec = replace(spec, features=_turned(spec))
    # Joint vectors of squared length s under a ridge s are those of length one under a ridge of one.
    length = 1.0 / spec.context if fusion == "hadamard" else 2.0
    model = shared(spec, fusion if semantics else "ids", length * real(ridge), discount, normalise=fusion != "hadamard")
    charge = penalty(replace(spec, channels=()), columns=()) if cost_model else None

    def query(context: Array) -> Array:
        x = real(context)
        norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
        return x / jnp.where(norm > 0, norm, 1.0)

    def payoff(source: Feedback | FullInformation) -> Array:
        """What the shared vector learns: the reward, without the parts that are switched off or learned apart."""
        value, weights = real(source.reward), real(source.preference)
        if not dense_feedback and source.channels.score is not None:
            value = value - weights[WEIGHT["score"]] * real(source.channels.score)
        if charge is not None:
            value = value + weights[WEIGHT["cost"]] * transformed(spec, real(source.cost))
        return value

    def init(key: Array) -> Learned:
        return Learned(model.init(), None if charge is None else charge.init())

    def act(key: Array, state: Learned, observation: Observation) -> Choice:
        mean, deviation = model.predict(state.payoff, query(observation.context), observation.round)
        scores = mean + real(alpha) * deviation
        if charge is not None and state.cost is not None:
            seen = observation
            scores = scores - charge.predict(state.cost, seen.context, seen.preference, seen.prices)
        return pick_best(key, scores, observation.mask)

    def update(key: Array, state: Learned, feedback: Feedback) -> Learned:
        x, y = query(feedback.context), payoff(feedback)
        return Learned(
            model.observe(state.payoff, x, feedback.action, y, feedback.round),
            None if charge is None or state.cost is None else charge.observe(state.cost, feedback),
        )

    def fit(key: Array, state: Learned, full: FullInformation) -> Learned:
        return Learned(
            model.fit(state.payoff, query(full.context), payoff(full), real(full.mask)),
            None if charge is None or state.cost is None else charge.fit(state.cost, full),
        )

    return warm_up(Agent(init, act, update, fit), warmup)


def transformed(spec: Spec, cost: Array) -> Array:
    """g(cost), as the reward prices it (`uis_env.bandit.Reward.transform`)."""
    if spec.transform == "linear":
        return cost
    low, high = spec.ends
    if spec.transform == "log":
        low, high, cost = math.log(low), math.log(high), jnp.log(cost)
    return jnp.clip((cost - low) / (high - low), 0.0, 1.0)


def _turned(spec: Spec) -> NDArray[np.float32]:
    """(K, D) arm features of length one, their leading dimensions turned at random (but always the same way) into D."""
    rows = coordinates(unit_features(spec.features))[:, : spec.context]
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((spec.context, rows.shape[1])))[0]
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1.0) @ basis.T, np.float32)
