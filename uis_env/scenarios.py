"""Scenarios: what changes during an episode, as phases and the rounds at which they come into force.

The default protocol is normal / perturbed / recovered in thirds of the horizon (after ParetoBandit, arXiv 2604.00136).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.bandit import PREFERENCE, Phase, Reward
from uis_env.split import holdout_rounds, in_test_split
from uis_env.tape import Schedule, Stretch
from uis_env.world import World


@dataclass(frozen=True)
class Segment:
    """A part of an episode: from `start`, a fraction of the horizon in [0, 1), `phase` over the queries of `groups`.

    `phase=None` draws a phase in every round; `groups=None` asks every query.
    """

    start: float
    phase: int | None
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Scenario:
    """Phases and segments; `schedule` fixes them to a horizon."""

    name: str
    phases: tuple[Phase, ...]
    segments: tuple[Segment, ...]

    def schedule(
        self,
        world: World,
        rounds: int,
        order: str = "passes",
        queries: NDArray[Any] | None = None,
        holdout: int | bool = False,
    ) -> Schedule:
        """The schedule over `rounds` rounds; `queries` restricts it to some ids.

        With a hold-out these rounds ask train queries only, and after them come `holdout` rounds (True: as many as
        there are test queries) that ask test queries only (`uis_env.in_test_split`), in the phase and among the groups
        of the last segment.

        Segments that would start in the same round (short horizons) give way to the last of them.

        Raises:
            ValueError: if a segment, or the hold-out, has no query left.
        """
        allowed = np.arange(len(world.query_ids), dtype=np.int32) if queries is None else np.asarray(queries, np.int32)
        held = np.empty(0, np.int32)
        if holdout:
            test = in_test_split(world)[allowed]
            allowed, held = allowed[~test], allowed[test]
        groups = np.array(world.groups)
        stretches: dict[int, Stretch] = {}
        for segment in self.segments:
            start = round(segment.start * rounds)
            chosen = allowed if segment.groups is None else allowed[np.isin(groups[allowed], segment.groups)]
            if start < rounds:
                stretches[start] = Stretch(start, segment.phase, chosen)
        added = 0
        if holdout:
            last = self.segments[-1]
            held = held if last.groups is None else held[np.isin(groups[held], last.groups)]
            if not held.size:
                raise ValueError(f"a hold-out needs test queries, and none of world {world.name!r} can be asked in it")
            added = holdout_rounds(world, holdout)
            stretches[rounds] = Stretch(rounds, last.phase, held)
        draws = world.channels.quality.shape[1]
        return Schedule(rounds + added, draws, tuple(stretches.values()), len(self.phases), order, added)


THIRDS = (Segment(0.0, 0), Segment(1 / 3, 1), Segment(2 / 3, 2))


def stationary(world: World, reward: Reward) -> Scenario:
    """Nothing changes."""
    return Scenario("stationary", (Phase(reward),), (Segment(0.0, 0),))


def price_change(world: World, reward: Reward, model: str | None = None, factor: float = 0.1) -> Scenario:
    """One model (the strongest) changes its price by `factor` in the middle third.

    Raises:
        ValueError: if the reward prices eFLOPs, which no price list changes.
    """
    if reward.cost_channel != "dollars":
        raise ValueError(
            f"price_change needs cost_channel='dollars' and a cost_weight per dollar, the reward prices "
            f"{reward.cost_channel}"
        )
    normal = Phase(reward)
    return Scenario(
        "price_change", (normal, Phase(reward, price={model or strongest_model(world): factor}), normal), THIRDS
    )


def new_model(world: World, reward: Reward, model: str | None = None) -> Scenario:
    """One model (the strongest) joins the pool after a third of the rounds."""
    arms = _arms_of(world, model or strongest_model(world))
    return Scenario("new_model", (Phase(reward, without=arms), Phase(reward)), (Segment(0.0, 0), Segment(1 / 3, 1)))


def lost_model(world: World, reward: Reward, model: str | None = None) -> Scenario:
    """One model (the strongest) is gone for the middle third of the rounds."""
    arms = _arms_of(world, model or strongest_model(world))
    return Scenario("lost_model", (Phase(reward), Phase(reward, without=arms), Phase(reward)), THIRDS)


def silent_quality_loss(world: World, reward: Reward, model: str | None = None, keep: float = 0.75 / 0.92) -> Scenario:
    """One model (the strongest) keeps a success with probability `keep` in the middle third; nothing announces it.

    The default factor takes a quality of .92 to .75 (ParetoBandit's perturbation).
    """
    normal = Phase(reward)
    return Scenario(
        "silent_quality_loss", (normal, Phase(reward, keep={model or strongest_model(world): keep}), normal), THIRDS
    )


def query_mix_shift(world: World, reward: Reward) -> Scenario:
    """The first half of the rounds asks every other query group in alphabetical order, the second half the rest."""
    groups = sorted(set(world.groups))
    if len(groups) < 2:
        raise ValueError(f"query_mix_shift needs two query groups or more; world {world.name!r} has {groups}")
    return Scenario(
        "query_mix_shift",
        (Phase(reward),),
        (Segment(0.0, 0, tuple(groups[::2])), Segment(0.5, 0, tuple(groups[1::2]))),
    )


def preference_switch(world: World, reward: Reward, factor: float = 0.1, **weights: float) -> Scenario:
    """The middle third weighs cost, tokens and latency by `factor` of their weight (quality first).

    With `weights`, fields of `Reward`, it takes those instead of the factor.
    """
    if not weights:
        weights = {name: getattr(reward, name) * factor for name in ("cost", "tokens", "latency")}
    other = replace(reward, **weights)  # type: ignore[arg-type]
    return Scenario("preference_switch", (Phase(reward), Phase(other), Phase(reward)), THIRDS)


def preference_mix(
    world: World,
    reward: Reward,
    factors: Sequence[float] | NDArray[Any] = (1.0, 0.1, 10.0),
    **weights: Sequence[float] | NDArray[Any],
) -> Scenario:
    """Every round has a preference of its own: cost, tokens and latency weigh one of `factors` times as much.

    With `weights`, fields of `Reward`, the i-th preference takes the i-th value of each instead of a factor. All are
    equally likely. The preference is in the observation, so one agent can serve them all.

    Raises:
        ValueError: naming the weight that is unknown, not a sequence, or of another length than the others.
    """
    unknown = sorted(set(weights) - {*PREFERENCE, "offset"})
    if unknown:
        raise ValueError(f"unknown weights {unknown}; expected {', '.join(PREFERENCE)} or offset")
    for name, values in (weights or {"factors": factors}).items():
        several = isinstance(values, list | tuple) or (isinstance(values, np.ndarray) and values.ndim > 0)
        if not several or not len(values):
            raise ValueError(f"{name} is {values!r}, expected one number for each preference")
    if len(lengths := {name: len(values) for name, values in weights.items()}) and len(set(lengths.values())) > 1:
        raise ValueError(f"weights of {lengths} numbers, expected as many for each")
    if not weights:
        weights = {name: [getattr(reward, name) * f for f in factors] for name in ("cost", "tokens", "latency")}
    settings = [dict(zip(weights, values, strict=True)) for values in zip(*weights.values(), strict=True)]
    return Scenario("preference_mix", tuple(Phase(replace(reward, **s)) for s in settings), (Segment(0.0, None),))


def surge(world: World, reward: Reward, load: float = 3.0) -> Scenario:
    """Every answer takes `load` times as long in the middle third of the rounds; nothing announces it."""
    if world.channels.latency is None:
        raise ValueError(f"surge multiplies latency, which world {world.name!r} does not have")
    normal = Phase(reward)
    return Scenario("surge", (normal, Phase(reward, load=load), normal), THIRDS)


SCENARIOS: dict[str, Callable[..., Scenario]] = {
    scenario.__name__: scenario
    for scenario in (
        stationary,
        price_change,
        new_model,
        lost_model,
        silent_quality_loss,
        query_mix_shift,
        preference_switch,
        preference_mix,
        surge,
    )
}


def make_scenario(name: str, world: World, reward: Reward, **options: Any) -> Scenario:
    """A scenario by name.

    Raises:
        ValueError: naming the scenarios that exist, or the option that this one does not take.
    """
    if name not in SCENARIOS:
        raise ValueError(f"unknown scenario {name!r}; expected one of {', '.join(SCENARIOS)}")
    try:
        return SCENARIOS[name](world, reward, **options)
    except (TypeError, KeyError) as error:
        raise ValueError(f"scenario {name!r}: {error.args[0]}") from None


def strongest_model(world: World) -> str:
    """The model of the arm with the highest mean expected quality on the queries it was recorded on."""
    count = world.recorded.sum(axis=0)
    mean = (world.expected.quality * world.recorded).sum(axis=0) / np.maximum(count, 1)
    return world.catalog.arms[int(np.argmax(mean))].model


def _arms_of(world: World, *models: str) -> frozenset[int]:
    return frozenset(np.flatnonzero(world.catalog.mask(models=models)).tolist())
