"""What a sweep says: policies valued question by question, their frontiers, and areas between frontiers.

A choice is valued at its expectation (`World.expected`: an exact pool formula, or a mean over many draws), so that no
policy gains by the luck of its draws; the two oracles that do otherwise say so. Intervals are over questions and seeds
(`components`), the same for all policies: differences are paired. What is not a mean (a ratio, a frontier) is replaced
by its derivative at the means (the delta method): values per question and seed, the mean of which it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.components import two_way, two_way_estimate
from experiments.references import upper_hull
from experiments.results import Entrant, SweepRuns
from experiments.statistics import Estimate
from experiments.sweeps.game import SweepGame
from uis_env.world import Channels

Array = NDArray[Any]
VALUES = ("accuracy", "tokens", "seconds")
"""What is reported of a choice, in the order of the last axis of all values."""
AXES = {"tokens": "latency", "seconds": "tokens"}
"""What a frontier is drawn against, and the weight that is zero on it."""
GRID = 24
"""Points, evenly spaced in the logarithm, over which an area is averaged."""


@dataclass(frozen=True, eq=False)
class Policy:
    """What was chosen on n questions by S seeds at P preferences.

    Attributes:
        name: of the agent or reference.
        value: (n, S, P, 3) float64 `VALUES` of the choices.
        arm: (n, S, P) ids, None where no single one is chosen.
    """

    name: str
    value: Array
    arm: Array | None = None

    @cached_property
    def mean(self) -> Array:
        """(P, 3) means."""
        return np.asarray(self.value.mean(axis=(0, 1)))

    @cached_property
    def ends(self) -> Array:
        """(2, P, 3) ends of the intervals of the means."""
        return intervals(self.value)

    def shares(self, arms: Array) -> Array:
        """(n, S, P) whether the chosen arm is one of (K,) bool."""
        if self.arm is None:
            raise ValueError(f"{self.name} does not choose one arm")
        return np.asarray(arms[self.arm])


def intervals(values: Array) -> Array:
    """(2, ...) ends of the intervals of the means of (n, S, ...) values."""
    flat = values.reshape(*values.shape[:2], -1).transpose(2, 1, 0)
    return two_way(flat, np.ones(flat.shape[1:])).intervals().reshape(2, *values.shape[2:])


def estimate(values: Array) -> Estimate:
    """The mean of (n, S) values."""
    return two_way_estimate(values.T)


@dataclass(frozen=True, eq=False)
class Sweep:
    """What was played of a sweep on one world.

    Attributes:
        game: what was played.
        seeds: (S,).
        agents: their runs, by name.
        entrants: name -> kind and role.
    """

    game: SweepGame
    seeds: Array
    agents: Mapping[str, SweepRuns]
    entrants: Mapping[str, Entrant]

    @cached_property
    def arms(self) -> Array:
        """(K',) ids of the arms that are on offer for every question: the static configurations."""
        return np.flatnonzero(np.asarray(self.game.tables.bandit.mask)[0, self.game.questions].all(axis=0))

    @cached_property
    def static(self) -> Policy:
        """The static configurations in the place of preferences, (n, 1, K', 3)."""
        return Policy("static", self._table[:, None, self.arms])

    @cached_property
    def policies(self) -> Mapping[str, Policy]:
        """Agents, then references, by name."""
        return {**{name: self._played(name) for name in self.agents}, **_references(self.game, self._table)}

    @property
    def weights(self) -> Array:
        """(P, 2) weights of tokens and of latency."""
        return np.array([[preference.tokens, preference.latency] for preference in self.game.preferences])

    def along(self, axis: str) -> Array:
        """The preferences of a frontier: those that price nothing but tokens, or nothing but seconds, cheap first."""
        weights = {name: [getattr(p, name) for p in self.game.preferences] for name in (AXES[axis], "cost", "score")}
        own = np.array([getattr(p, "tokens" if axis == "tokens" else "latency") for p in self.game.preferences])
        pure = np.all([np.array(values) == 0 for values in weights.values()], axis=0)
        chosen = np.flatnonzero(pure)
        return np.asarray(chosen[own[chosen].argsort(kind="stable")])

    def tail(self, name: str, levels: Sequence[float] = (50, 95, 99)) -> Array:
        """(P, len(levels)) percentiles of the seconds that an agent's rounds took, as drawn."""
        latency, arm = self.game.world.channels.latency, self.policies[name].arm
        if latency is None or arm is None:
            return np.full((len(self.game.preferences), len(levels)), np.nan)
        took = latency[self.game.questions[:, None, None], self._tape[1][..., None], arm]
        return np.asarray(np.percentile(took, levels, axis=(0, 1)).T)

    def believed(self, name: str) -> tuple[Array, Array] | None:
        """(S, n, K) predictions of quality before the first round, and (n, K) expected qualities."""
        believed = self.agents[name].believed
        if believed is None:
            return None
        by_question = np.take_along_axis(believed, self._tape[0][..., None], axis=1)
        return by_question[..., self.arms], self.static.value[:, 0, :, 0]

    @cached_property
    def _table(self) -> Array:
        """(n, K, 3) expected values of all arms on the questions."""
        return _table(self.game.world.expected)[self.game.questions]

    @cached_property
    def _tape(self) -> tuple[Array, Array]:
        """(S, n) the rounds in the order of the questions, and (n, S) the draws of the questions."""
        tape = self.game.tape(self.seeds)
        order = tape.query.argsort(axis=1)
        return order, np.take_along_axis(tape.draw, order, axis=1).T

    def _played(self, name: str) -> Policy:
        order = self._tape[0]
        action = np.take_along_axis(self.agents[name].action.astype(np.int64), order[:, None, :], axis=2)
        arm = action.transpose(2, 0, 1)
        return Policy(name, _look_up(self._table, arm), arm)


def _table(channels: Channels) -> Array:
    """(Q, K, 3) float64 `VALUES`; zeros for a channel that the world does not have."""
    parts = (channels.quality, channels.tokens, channels.latency)
    filled = [np.zeros_like(channels.quality) if part is None else part for part in parts]
    return np.stack(filled, axis=-1).astype(np.float64)


def _look_up(table: Array, arm: Array) -> Array:
    """(n, S, P, 3) from (n, K, 3) at (n, S, P) arms."""
    return np.asarray(table[np.arange(len(table))[:, None, None], arm])


def _references(game: SweepGame, table: Array) -> dict[str, Policy]:
    """Policies that learn nothing, from the tables.

    best_fixed: the arm with the highest expected reward over these questions, in hindsight. fixed_elsewhere: the same
    over the pilot's questions. random: all arms alike. oracle: the best arm per question by expectation.
    oracle_cross_fitted: chosen by one half of the samples, valued by the other (a lower bound). oracle_published:
    chosen and valued by the mean of the same stored draws, as the published one is (optimistic).
    """
    bandit: Any = game.tables.bandit
    mask = np.asarray(bandit.mask)[0]
    worth = np.where(mask, np.asarray(bandit.expected, np.float64), -np.inf)
    asked = worth[:, game.questions]
    count = len(game.questions)

    def policy(name: str, chosen: Array, values: Array = table) -> Policy:
        """From (P, n) or (P,) arms."""
        arm = np.broadcast_to(chosen.T if chosen.ndim == 2 else chosen, (count, len(chosen)))[:, None, :]
        return Policy(name, _look_up(values, arm), arm)

    found = [policy("best_fixed", asked.mean(axis=1).argmax(axis=-1))]
    if len(game.training):
        found.append(policy("fixed_elsewhere", worth[:, game.training].mean(axis=1).argmax(axis=-1)))
    offered = mask[game.questions, :, None]
    mean = (table * offered).sum(axis=1) / offered.sum(axis=1)
    found.append(Policy("random", np.repeat(mean[:, None, None], len(worth), axis=2)))
    found.append(policy("oracle", asked.argmax(axis=-1)))
    weights = np.array([[p.quality, -p.tokens, -p.latency] for p in game.preferences])
    simple = all(p.score == p.cost == 0 for p in game.preferences)
    if game.world.halves is not None and simple:
        halves = [_table(half)[game.questions] for half in game.world.halves]
        both = np.isfinite(halves[0]).all(-1) & np.isfinite(halves[1]).all(-1) & mask[game.questions]
        sides = []
        for choose, value in (halves, halves[::-1]):
            chosen = _ranked(choose, weights, both).argmax(axis=-1)
            sides.append(policy("", chosen, np.nan_to_num(value)).value)
        found.append(Policy("oracle_cross_fitted", (sides[0] + sides[1]) / 2))
    if simple:
        drawn = _table(game.world.channels).mean(axis=1)[game.questions]
        chosen = _ranked(drawn, weights, mask[game.questions]).argmax(axis=-1)
        found.append(policy("oracle_published", chosen, drawn))
    return {one.name: one for one in found}


def _ranked(table: Array, weights: Array, offered: Array) -> Array:
    """(P, n, K) rewards of (n, K, 3) values at (P, 3) weights, -inf where not on offer."""
    return np.where(offered, np.einsum("nkc,pc->pnk", np.nan_to_num(table), weights), -np.inf)


@dataclass(frozen=True, eq=False)
class Curve:
    """A frontier: the accuracies `y` against the tokens or seconds `x` of m points, (n, S, m) by question and seed."""

    x: Array
    y: Array

    @cached_property
    def points(self) -> Array:
        """(m, 2) mean x and y."""
        return np.stack([part.mean(axis=(0, 1)) for part in (self.x, self.y)], axis=1)

    @cached_property
    def corners(self) -> Array:
        """(H,) the points at the corners of the upper hull, by rising x."""
        hull = upper_hull(self.points)
        return np.array([int(np.flatnonzero((self.points == corner).all(axis=1))[0]) for corner in hull])

    def at(self, place: Array) -> Array:
        """(n, S, G) values the means of which are the accuracies at a mean x of (G,) places, tossing coins.

        That is the upper hull of the points: left of the leftmost corner, that corner; beyond the highest, that one.
        Places may be (n, S, G) too, by question and seed; the accuracies are then those at their means.
        """
        mean = place.mean(axis=(0, 1)) if place.ndim == 3 else place
        corner = self.points[self.corners]
        left = np.clip(np.searchsorted(corner[:, 0], mean, side="right") - 1, 0, len(corner) - 1)
        right = np.minimum(left + 1, len(corner) - 1)
        run, rise = (corner[right] - corner[left]).T
        inside = (run > 0) & (mean >= corner[0, 0])
        share = np.where(inside, (mean - corner[left, 0]) / np.where(inside, run, 1.0), 0.0)
        slope = np.where(inside, rise / np.where(inside, run, 1.0), 0.0)
        x, y = self.x[..., self.corners], self.y[..., self.corners]
        moved = place - ((1 - share) * x[..., left] + share * x[..., right])
        return np.asarray((1 - share) * y[..., left] + share * y[..., right] + slope * moved)


def curve(policy: Policy, axis: str, points: Array | slice = slice(None)) -> Curve:
    """The frontier of a policy over some of its P points, against an axis of `AXES`."""
    value = policy.value[:, :, points]
    return Curve(value[..., VALUES.index(axis)], value[..., 0])


class Area(NamedTuple):
    """The mean difference in accuracy at equal tokens (or seconds) between `low` and `high`."""

    low: float
    high: float
    difference: Estimate


def span(mine: Curve, other: Curve, points: int = GRID) -> Array:
    """(points,) places that both frontiers span, evenly in the logarithm; empty where they have nothing in common."""
    low = max(float(one.points[:, 0].min()) for one in (mine, other))
    high = min(float(one.points[:, 0].max()) for one in (mine, other))
    return np.geomspace(low, high, points) if low < high else np.zeros(0)


def area(mine: Curve, other: Curve) -> Area:
    """Between two frontiers, over what both span, evenly in the logarithm; NaN where they have nothing in common."""
    places = span(mine, other)
    if not len(places):
        return Area(np.nan, np.nan, Estimate(np.nan, np.nan, np.nan))
    found = (mine.at(places) - other.at(places)).mean(axis=-1)
    return Area(float(places[0]), float(places[-1]), estimate(found))


def equal(mine: Curve, other: Curve) -> list[Estimate]:
    """Accuracy of a frontier minus that of each of the other's m points, at the point's own tokens or seconds."""
    found = mine.at(other.x) - other.y
    return [Estimate(*map(float, row)) for row in zip(found.mean(axis=(0, 1)), *intervals(found), strict=True)]


def accuracy_at(mine: Curve, place: float) -> Estimate:
    """Accuracy of a frontier at so many tokens or seconds."""
    return estimate(mine.at(np.array([place]))[..., 0])


def kinds(game: SweepGame) -> dict[str, list[tuple[str, Array]]]:
    """Ways to sort arms, by method and by samples N: (label, (K,) bool) pairs."""
    catalog = game.world.catalog.arms
    methods = list(dict.fromkeys(arm.recipe for arm in catalog))
    sizes = sorted({arm.budget[0] for arm in catalog})
    return {
        "method": [(name, np.array([arm.recipe == name for arm in catalog])) for name in methods],
        "N": [(str(size), np.array([arm.budget[0] == size for arm in catalog])) for size in sizes],
    }
