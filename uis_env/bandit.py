"""The bandit that is played: phases and reward settings become tables of rewards, regrets and masks.

Every nonlinearity (log cost, clipping, prices, thinned quality) is computed here, once, in float64, and stored as
float32; the Gymnasium environment and the compiled JAX loop only look it up, so both see the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uis_env.world import Channels, World

Array = NDArray[Any]
PREFERENCE = ("quality", "score", "cost", "tokens", "latency")
"""The names of the W = 5 entries of a preference: the weights of a reward."""
_MOST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Reward:
    """`r = offset + quality·q + score·s − cost·g(c) − tokens·t − latency·l`; the default is plain quality.

    UniScale's `w1·correct + w2·score + w3·(1 − c~)` is `Reward(quality=w1, score=w2, cost=w3, offset=w3,
    transform="log")`; the latency- and token-aware `a − λ_T·tokens − λ_L·latency` is `Reward(tokens=λ_T, latency=λ_L)`.

    Attributes:
        quality, score: weights >= 0.
        cost: λ, per US dollar or tera-eFLOP when `transform` is linear, else per unit of the normalised cost.
        tokens, latency: per completion token, per second.
        offset: a constant.
        cost_channel: "dollars" or "eflops".
        transform: g: "linear" (c), "clipped" ((c − low)/(high − low) in [0, 1]) or "log" (the same of ln c).
        ends: (low, high) of clipped and log costs; None takes the ends frozen with the world.

    Raises:
        ValueError: naming the setting that is negative, not finite or unknown.
    """

    quality: float = 1.0
    score: float = 0.0
    cost: float = 0.0
    tokens: float = 0.0
    latency: float = 0.0
    offset: float = 0.0
    cost_channel: str = "dollars"
    transform: str = "linear"
    ends: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in PREFERENCE:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
                raise ValueError(f"reward weight {name} is {value!r}, expected one number")
            if not 0 <= value < math.inf:  # NaN is refused too
                raise ValueError(f"reward weight {name} is {value}, expected a finite number >= 0")
            if value > _MOST:
                raise ValueError(f"reward weight {name} is above {_MOST:.2g}, the largest number that is looked up")
        if not _is_number(self.offset) or abs(self.offset) > _MOST:
            raise ValueError(f"reward offset is {self.offset!r}, expected a finite number of at most {_MOST:.2g}")
        if self.cost_channel not in ("dollars", "eflops"):
            raise ValueError(f"cost_channel is {self.cost_channel!r}, expected 'dollars' or 'eflops'")
        if self.transform not in ("linear", "clipped", "log"):
            raise ValueError(f"transform is {self.transform!r}, expected 'linear', 'clipped' or 'log'")
        if self.ends is not None:
            low, high = self.ends
            if not (math.isfinite(low) and math.isfinite(high) and low < high) or (
                self.transform == "log" and low <= 0
            ):
                raise ValueError(f"cost ends are {self.ends}, expected low < high (and low > 0 for a log cost)")

    @property
    def preference(self) -> tuple[float, ...]:
        """The W weights, in the order of PREFERENCE."""
        return tuple(float(getattr(self, name)) for name in PREFERENCE)


@dataclass(frozen=True)
class Phase:
    """One set of conditions.

    Attributes:
        reward: the preference in force.
        price: model -> factor on its dollars.
        keep: model -> probability that a success survives (silent quality loss).
        load: factor on every latency (a surge).
        without: arms that are not offered, as ids.
    """

    reward: Reward = field(default_factory=Reward)
    price: Mapping[str, float] = field(default_factory=dict)
    keep: Mapping[str, float] = field(default_factory=dict)
    load: float = 1.0
    without: frozenset[int] = frozenset()


class Bandit(NamedTuple):
    """A contextual bandit, tabulated: P phases, Q queries, R draws, K arms, M models, V variants of the outcomes.

    Attributes:
        context: (Q, D) float32.
        reward: (P, Q, R, K) float32, what a round pays.
        expected: (P, Q, K) float32, its expectation; zero where masked.
        regret: (P, Q, K) float32, the best available expectation minus the arm's; zero where masked.
        mask: (P, Q, K) bool, arms on offer.
        preference: (P, 5) float32, the reward's weights.
        prices: (P, M) float32, factor on each model's dollars.
        cost: (V, Q, R, K) float32, the channel that the reward prices (dollars or eFLOPs); zeros if the world has none.
        channels: (V, Q, R, K) float32 each, as they come back.
        variant: (P,) int32, which variant of the channels a phase returns.
    """

    context: Array
    reward: Array
    expected: Array
    regret: Array
    mask: Array
    preference: Array
    prices: Array
    cost: Array
    channels: Channels
    variant: Array


def tabulate(world: World, phases: Sequence[Phase], context: str | None = None) -> Bandit:
    """Computes the tables that are played.

    Raises:
        ValueError: naming the phase and setting, if a nonzero weight stands on a channel the world does not have, a
            model is unknown, the cost ends are missing, or some query is left without an arm.
    """
    if not phases:
        raise ValueError("expected at least one phase")
    seen = world.context(context)
    variants: list[tuple[Any, ...]] = []
    variant = []
    for i, phase in enumerate(phases):
        _check_phase(world, phase, f"phase {i}")
        key = (tuple(sorted(phase.price.items())), tuple(sorted(phase.keep.items())), phase.load)
        if key not in variants:
            variants.append(key)
        variant.append(variants.index(key))
    sources = [phases[variant.index(v)] for v in range(len(variants))]
    uniforms = _thinning_uniforms(world) if any(phase.keep for phase in sources) else None
    drawn = [_conditions(world, world.channels, phase, uniforms) for phase in sources]
    means = [_conditions(world, world.expected, phase, None) for phase in sources]

    rewards, expected, regret, masks = [], [], [], []
    for i, (phase, v) in enumerate(zip(phases, variant, strict=True)):
        ends = _ends(world, phase.reward)
        priced = _priced(drawn[v], phase.reward, ends)
        reward = _reward(drawn[v], phase.reward, priced)
        # g of an expected cost is not the expected g; every other term keeps its exact expectation.
        linear = phase.reward.transform == "linear"
        mean = _reward(means[v], phase.reward, _priced(means[v], phase.reward, ends) if linear else priced.mean(axis=1))
        offered = np.ones(len(world.catalog), bool)
        offered[list(phase.without)] = False
        mask = world.recorded & offered
        if not mask.any(axis=1).all():
            query = int(np.argmin(mask.any(axis=1)))
            raise ValueError(f"phase {i}: query {world.query_ids[query]!r} is left without any arm")
        best = np.where(mask, mean, -np.inf).max(axis=1, keepdims=True)
        if not np.abs(reward).max() <= _MOST:
            raise ValueError(f"phase {i}: rewards of up to {np.abs(reward).max():.3g} leave the range of float32")
        rewards.append(reward.astype(np.float32))
        expected.append(np.where(mask, mean, 0).astype(np.float32))
        regret.append(np.where(mask, best - mean, 0).astype(np.float32))
        masks.append(mask)

    channel = phases[0].reward.cost_channel
    stacked = {
        name: np.stack([getattr(c, name) for c in drawn]).astype(np.float32) for name in world.channels.present()
    }
    models = world.catalog.models
    return Bandit(
        context=seen,
        reward=np.stack(rewards),
        expected=np.stack(expected),
        regret=np.stack(regret),
        mask=np.stack(masks),
        preference=np.array([phase.reward.preference for phase in phases], np.float32),
        prices=np.array([[phase.price.get(m, 1.0) for m in models] for phase in phases], np.float32),
        cost=stacked.get(channel, np.zeros_like(stacked["quality"])),
        channels=Channels(**stacked),
        variant=np.array(variant, np.int32),
    )


def expected_quality(world: World, phase: Phase) -> Array:
    """(Q, K) float64 expected quality under the conditions of a phase."""
    return _conditions(world, world.expected, phase, None).quality


def cross_fitted(world: World, phase: Phase) -> tuple[Array, Array] | None:
    """(Q, K) float64 expected rewards under a phase from each half of the samples, NaN where a half cannot tell.

    None where the world has no halves. For a clipped or log cost g is taken of the expected cost.
    """
    if world.halves is None:
        return None
    ends = _ends(world, phase.reward)
    masked = ~world.recorded
    masked[:, list(phase.without)] = True
    values = []
    for half in world.halves:
        channels = _conditions(world, half, phase, None)
        reward = _reward(channels, phase.reward, _priced(channels, phase.reward, ends))
        values.append(np.where(masked, np.nan, reward))
    return values[0], values[1]


def _check_phase(world: World, phase: Phase, where: str) -> None:
    for weight, channel in (
        (phase.reward.score, "score"),
        (phase.reward.cost, phase.reward.cost_channel),
        (phase.reward.tokens, "tokens"),
        (phase.reward.latency, "latency"),
    ):
        if weight and getattr(world.channels, channel) is None:
            raise ValueError(
                f"{where}: the reward weighs {channel} by {weight}, but world {world.name!r} has no {channel}"
            )
    for name, factors, most in (("price", phase.price, math.inf), ("keep", phase.keep, 1.0)):
        for model, factor in factors.items():
            if model not in world.catalog.models:
                raise ValueError(f"{where}: {name} names model {model!r}; expected one of {list(world.catalog.models)}")
            if not _is_number(factor) or not 0 <= factor <= most:
                raise ValueError(f"{where}: {name} of {model!r} is {factor!r}, expected a number in [0, {most:g}]")
    if not _is_number(phase.load) or phase.load <= 0:
        raise ValueError(f"{where}: load is {phase.load!r}, expected a number > 0")
    if any(not 0 <= arm < len(world.catalog) for arm in phase.without):
        raise ValueError(f"{where}: without names an arm outside 0..{len(world.catalog) - 1}")
    if phase.price and phase.reward.cost and phase.reward.cost_channel != "dollars":
        raise ValueError(f"{where}: a price changes dollars, but the reward prices {phase.reward.cost_channel}")


def _is_number(value: Any) -> bool:
    numeric = isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool)
    return numeric and -math.inf < value < math.inf


def _thinning_uniforms(world: World) -> Array:
    """(Q, R, M) uniforms, one per query, draw and model: a success is kept where u < keep."""
    queries, draws, _ = world.channels.quality.shape
    seed = int.from_bytes(world.name.encode()[:8].ljust(8, b"\0"), "little")
    return np.random.Generator(np.random.Philox(key=seed)).random((queries, draws, len(world.catalog.models)))


def _conditions(world: World, channels: Channels, phase: Phase, uniforms: Array | None) -> Channels:
    """The channels (float64) as a phase returns them: priced, thinned (in expectation if no uniforms), slowed."""
    index = world.catalog.model_index
    models = world.catalog.models
    present = {name: array.astype(np.float64) for name, array in channels.present().items()}
    keep = np.array([phase.keep.get(model, 1.0) for model in models])
    if uniforms is None:
        present["quality"] = present["quality"] * keep[index]
    else:
        present["quality"] = np.where((uniforms < keep)[..., index], present["quality"], 0.0)
    if "dollars" in present:
        present["dollars"] = present["dollars"] * np.array([phase.price.get(model, 1.0) for model in models])[index]
    if "latency" in present:
        present["latency"] = present["latency"] * phase.load
    return Channels(**present)


def _ends(world: World, reward: Reward) -> tuple[float, float] | None:
    if reward.transform == "linear":
        return None
    ends = reward.ends or world.cost_ends.get(reward.cost_channel)
    if ends is None:
        raise ValueError(f"a {reward.transform} cost needs ends=(low, high): world {world.name!r} has none frozen")
    return ends


def pay(channels: Channels, reward: Reward) -> Array:
    """The rewards, float64, of outcomes as they are (clipped and log costs need `reward.ends`)."""
    return _reward(channels, reward, _priced(channels, reward, reward.ends))


def _reward(channels: Channels, reward: Reward, priced: Array) -> Array:
    """The reward formula in float64; channels of weight zero are dropped, so that 0·NaN cannot reach it."""
    total = np.full(channels.quality.shape, reward.offset, np.float64)
    terms = (
        (reward.quality, channels.quality),
        (reward.score, channels.score),
        (-reward.cost, priced),
        (-reward.tokens, channels.tokens),
        (-reward.latency, channels.latency),
    )
    for weight, array in terms:
        if weight:
            assert array is not None
            total += weight * array
    return total


def _priced(channels: Channels, reward: Reward, ends: tuple[float, float] | None) -> Array:
    """g(cost), or zeros where cost has no weight."""
    if not reward.cost:
        return np.zeros_like(channels.quality)
    cost: Array = getattr(channels, reward.cost_channel)
    if ends is None:
        return cost
    low, high = ends
    if reward.transform == "log":
        with np.errstate(divide="ignore"):
            cost = np.log(cost)
        low, high = math.log(low), math.log(high)
    return np.clip((cost - low) / (high - low), 0.0, 1.0)
