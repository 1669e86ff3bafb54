"""What a cell could have paid: oracles, fixed arms, the ceiling of its context; from the tables, not from runs.

All values are means per round over the population of rounds that tapes are drawn from: each (phase, query) counts by
its share of the rounds (`Schedule.weights`), so with several phases they are means over phases, weighted by rounds.
Intervals are over queries. A fixed arm is one arm for the whole episode, among those on offer in every round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.ceiling import FAMILY, Tables, policies
from experiments.components import two_way
from uis_env.bandit import PREFERENCE, Bandit, Phase, cross_fitted, expected_quality
from uis_env.scenarios import Scenario
from uis_env.tape import Schedule, tapes
from uis_env.world import World

Array = NDArray[Any]
COST_UNITS = {"dollars": "US dollar", "eflops": "tera-eFLOP"}
WEIGHT_UNITS = {"tokens": "token", "latency": "second"}
"""What a weight of the reward is per."""
EXCHANGE = np.logspace(-3, 3, 41)
"""Prices of an arm's mean cost, in quality, that trace what an oracle could reach at every preference."""
Value = dict[str, float | None]


def references(
    world: World, scenario: Scenario, bandit: Bandit, schedule: Schedule, fold: NDArray[np.int32]
) -> dict[str, Any]:
    """The references of one cell, as plain JSON.

    `fold` (Q,) holds the query folds of the arm chosen on other queries (`rollout.Tables.fold`);
    the schedule is that of a seed without a pilot.

    Returns:
        A dict with, besides facts (`simulated`, `verifier`, `channels`, `cost_channel`, `catalog`, `phases`,
        `segments`, `counts`):

        - `best_fixed`: {value, low, high, arm}: the best arm over all queries;
        - `fixed_elsewhere`: {value, low, high, arms}: every query with the arm chosen on the other folds;
        - `oracle`: {value, low, high}: the best arm per query under the table's own expectation;
        - `group_oracle`: {value, low, high}: the best arm per phase and query group, for who knows nothing else;
        - `gap`: {value, low, high}: oracle minus best fixed arm;
        - `cross_fitted`: {value, low, high, gap: {value, low, high}, arms, queries} or None without halves: arms chosen
          on one half of the samples and valued on the other, both directions averaged; only arms that both halves can
          value compete (`arms` of them), so it is a lower bound;
        - `ceiling`: {value, low, high, no_signal, out_of_sample: {value, low, high}, family}: what a policy with full
          information on other queries (`ceiling.policies`, 10 splits averaged) gains over the best fixed arm, the one
          that learners are compared with; where it takes the fixed arm (of its phase), it takes that of all queries,
          so that the choice of the arm costs it nothing. `no_signal` says that the interval includes zero.
          `out_of_sample` is its gain over the best fixed arm of its own training queries; `family` the share of the
          queries that each member of `ceiling.FAMILY` decided;
        - `arms`: {reward, quality, cost} K numbers each, reward None for arms that are not always on offer;
        - `plane`: {hull, random_line, oracle, oracle_curve} as [cost, quality] points: what coin tosses between fixed
          arms reach, those between the cheapest arm and the one of highest quality (two ends), and the table's
          oracle, for this reward and for every price of cost.

        Those that need an arm that is always on offer are None where there is none, costs and the plane without a cost
        channel, and the ends of intervals with a single query.
    """
    queries = bandit.context.shape[0]
    game = _Population(bandit, schedule.weights(queries), schedule.asked(queries))
    channel = scenario.phases[0].reward.cost_channel
    priced = getattr(world.channels, channel) is not None
    facts = {
        "simulated": world.simulated,
        "verifier": world.provenance.get("verifier") or world.provenance.get("choices", {}).get("score"),
        "channels": list(world.channels.present()),
        "cost_channel": channel if priced else None,
        "catalog": [
            {"name": arm.name, "model": arm.model, "method": arm.recipe, "budget": list(arm.budget)}
            for arm in world.catalog.arms
        ],
        "phases": [
            {"description": describe(phase), "share": float(share)}
            for phase, share in zip(scenario.phases, game.weight.sum(axis=1), strict=True)
        ],
        "segments": [stretch.start for stretch in schedule.learning],
        "holdout": {"rounds": schedule.holdout, "queries": len(schedule.stretches[-1].queries)}
        if schedule.holdout
        else None,
        "families": _families(world, game),
        "counts": {"queries": len(world.query_ids), "draws": bandit.reward.shape[2], "arms": len(world.catalog)},
        "arms": {
            "reward": [float(value) if np.isfinite(value) else None for value in game.arm_reward],
            "quality": game.arm_mean(game.quality).tolist(),
            "cost": game.arm_mean(game.cost).tolist() if priced else None,
        },
        "plane": _plane(game) if priced else None,
    }
    best = game.pick(game.expected, game.best(game.expected))
    grouped = game.best_by_group(np.unique(world.groups, return_inverse=True)[1])
    values: dict[str, Any] = {
        "oracle": game.value(best),
        "group_oracle": game.value(game.pick(game.expected, grouped)),
    }
    if not game.always.any():
        return facts | values | dict.fromkeys(("best_fixed", "fixed_elsewhere", "gap", "cross_fitted", "ceiling"))
    arm = int(np.argmax(game.arm_reward))
    fixed = game.expected[..., arm]
    arms = game.fixed_by_fold(fold)
    elsewhere = game.pick(game.expected, arms[fold])
    values |= {
        "best_fixed": game.value(fixed) | {"arm": arm},
        "fixed_elsewhere": game.value(elsewhere) | {"arms": arms.tolist()},
        "gap": game.value(best - fixed),
        "cross_fitted": _cross_fitted(world, scenario.phases, game, fixed),
        "ceiling": _ceiling(world, scenario.phases, game, fixed),
    }
    return facts | values


def fixed_in_holdout(bandit: Bandit, schedule: Schedule, seeds: Array, arm: int) -> Array:
    """(S, Q) float64: what one arm earns in the hold-outs of the seeds' tapes, summed by query.

    Agents that are asked the same queries get the same draws, so differences are paired round by round.
    """
    queries = bandit.context.shape[0]
    tape = tapes(schedule, seeds, schedule.rounds)
    reward = bandit.reward[tape.phase, tape.query, tape.draw, arm].astype(np.float64)
    place = queries * np.arange(len(seeds))[:, None] + tape.query
    total = np.bincount(place.ravel(), reward.ravel(), minlength=queries * len(seeds))
    return np.asarray(total.reshape(len(seeds), queries))


def describe(phase: Phase) -> str:
    """A line on the conditions of a phase."""
    units = WEIGHT_UNITS | {"cost": COST_UNITS[phase.reward.cost_channel]}
    weights = [
        f"{name} {value:g}{f' per {units[name]}' if name in units else ''}"
        for name, value in zip(PREFERENCE, phase.reward.preference, strict=True)
        if value
    ]
    parts = [
        "weights: " + (", ".join(weights) or "none"),
        *(f"price of {model} ×{factor:g}" for model, factor in sorted(phase.price.items())),
        *(f"{model} keeps {keep:.0%} of its successes" for model, keep in sorted(phase.keep.items())),
    ]
    if phase.load != 1:
        parts.append(f"latency ×{phase.load:g}")
    if phase.without:
        parts.append(f"{len(phase.without)} arms not on offer")
    return "; ".join(parts)


def upper_hull(points: Array) -> Array:
    """(H, 2) vertices of the non-decreasing upper convex hull of (n, 2) points (cost, quality), by rising cost.

    It starts at the cheapest point and ends at the highest quality: what tossing coins between two points can reach.
    """
    hull: list[Array] = []
    for point in points[np.lexsort((-points[:, 1], points[:, 0]))]:
        if hull and (point[1] <= hull[-1][1] or point[0] == hull[-1][0]):
            continue
        while len(hull) > 1 and _turn(hull[-2], hull[-1], point) >= 0:
            hull.pop()
        hull.append(point)
    return np.array(hull)


def _turn(a: Array, b: Array, c: Array) -> float:
    """Above 0 if the path a, b, c turns left: b lies below the line from a to c."""
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


@dataclass(frozen=True, eq=False)
class _Population:
    """The rounds that tapes are drawn from: tables in float64, (P, Q) shares of the rounds, and whether any asks it."""

    bandit: Bandit
    weight: Array
    asked: Array

    @cached_property
    def expected(self) -> Array:
        """(P, Q, K) expected reward, zero where not on offer."""
        return self.bandit.expected.astype(np.float64)

    @cached_property
    def quality(self) -> Array:
        """(P, Q, K) mean quality over the draws."""
        return np.asarray(self.bandit.channels.quality.mean(axis=2, dtype=np.float64)[self.bandit.variant])

    @cached_property
    def cost(self) -> Array:
        """(P, Q, K) mean cost over the draws."""
        return np.asarray(self.bandit.cost.mean(axis=2, dtype=np.float64)[self.bandit.variant])

    @cached_property
    def always(self) -> Array:
        """(K,) bool: arms on offer in every round that can happen."""
        return np.asarray((self.bandit.mask | ~self.asked[..., None]).all(axis=(0, 1)))

    @cached_property
    def arm_reward(self) -> Array:
        """(K,) expected reward per round, -inf for arms that are not always on offer."""
        return np.where(self.always, self.arm_mean(self.expected), -np.inf)

    def arm_mean(self, table: Array) -> Array:
        """(K,) means of a (P, Q, K) table over the rounds."""
        return np.asarray(np.einsum("pq,pqk->k", self.weight, table))

    def mean(self, values: Array) -> float:
        """The mean of (P, Q) values over the rounds."""
        return float((self.weight * values).sum())

    def value(self, values: Array) -> Value:
        """The mean of (P, Q) values over the rounds, with its interval over queries.

        Of several, (N, P, Q), the mean of all and an interval as wide as theirs are on average: what their averaging
        would gain in width is no knowledge of other queries.
        """
        share = self.weight.sum(axis=0)
        asked = share > 0
        total = (self.weight * values).sum(axis=-2)[..., asked].reshape(-1, 1, int(asked.sum()))
        found = two_way(total, share[None, asked])
        low, high = found.intervals()
        half = np.sqrt(np.mean(np.square((high - low) / 2)))
        mean = float(found.mean.mean())
        ends = {"low": mean - half, "high": mean + half}
        return {"value": mean, **{name: float(end) if np.isfinite(end) else None for name, end in ends.items()}}

    def best(self, worth: Array) -> Array:
        """(P, Q) the arm on offer with the highest (P, Q, K) worth."""
        return np.asarray(np.where(self.bandit.mask, worth, -np.inf).argmax(axis=-1))

    def best_by_group(self, group: Array) -> Array:
        """(P, Q) the arm on offer with the highest expected reward over the rounds of its phase and (Q,) group."""
        worth = np.zeros_like(self.expected)
        for number in np.unique(group):
            own = group == number
            share = self.weight[:, own, None] * self.bandit.mask[:, own]
            total = (share * self.expected[:, own]).sum(axis=1, keepdims=True)
            worth[:, own] = total / np.maximum(share.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        return self.best(worth)

    def pick(self, table: Array, arms: Array) -> Array:
        """(P, Q) entries of a (P, Q, K) table at (P, Q) or (Q,) arms."""
        index = np.broadcast_to(arms, table.shape[:2])[..., None]
        return np.asarray(np.take_along_axis(table, index, axis=2)[..., 0])

    def fixed_by_fold(self, fold: Array) -> Array:
        """(F,) the best fixed arm on the queries of all other folds (of the only fold, if there is one)."""
        chosen = []
        for number in range(int(fold.max()) + 1):
            others = (fold != number) | (fold.max() == 0)
            value = np.einsum("pq,pqk->k", self.weight * others, self.expected)
            chosen.append(int(np.argmax(np.where(self.always, value, -np.inf))))
        return np.array(chosen)


def _ceiling(world: World, phases: Sequence[Phase], game: _Population, fixed: Array) -> dict[str, Any]:
    """What full-information policies gain, over the best fixed arm and over their own training queries' one."""
    found = []
    for number, (phase, weight) in enumerate(zip(phases, game.weight, strict=True)):
        reward, expected = phase.reward, game.expected[number]
        gain = reward.quality * expected_quality(world, phase)
        loss = gain + reward.offset - expected
        loss[np.abs(loss) < 1e-6 * np.abs(expected).max()] = 0.0  # the tables are float32
        mask = game.bandit.mask[number]
        found.append(policies(Tables(game.bandit.context, gain, loss, mask, game.always, weight)))
    arm, own, member = (np.stack(parts, axis=1) for parts in zip(*found, strict=True))
    of_phase = np.where(game.always, np.einsum("pq,pqk->pk", game.weight, game.expected), -np.inf).argmax(axis=1)
    arm = np.where(member == 0, of_phase[:, None], arm)
    value = game.value(np.stack([game.pick(game.expected, one) for one in arm]) - fixed)
    trained = [game.pick(game.expected, np.where(m == 0, o, a)) for a, o, m in zip(arm, own, member, strict=True)]
    outside = [game.pick(game.expected, o) for o in own]
    return value | {
        "no_signal": (value["low"] or 0.0) <= 0,
        "out_of_sample": game.value(np.stack(trained) - np.stack(outside)),
        "family": {name: game.mean((member == i).mean(axis=0)) for i, name in enumerate(FAMILY)},
    }


def _cross_fitted(world: World, phases: Sequence[Phase], game: _Population, fixed: Array) -> dict[str, Any] | None:
    """Arms chosen on one half of the samples and valued on the other; None without halves or comparable arms."""
    halves = [cross_fitted(world, phase) for phase in phases]
    if any(half is None for half in halves):
        return None
    first, second = (np.stack([half[i] for half in halves if half is not None]) for i in (0, 1))
    both = np.isfinite(first) & np.isfinite(second)
    able = both.any(axis=-1)
    if not able.any():
        return None
    values = np.zeros(able.shape)
    for choosing, valuing in ((first, second), (second, first)):
        arms = np.where(both, choosing, -np.inf).argmax(axis=-1)
        values += game.pick(np.where(both, valuing, 0.0), arms) / 2
    weight = game.weight * able
    judged = _Population(game.bandit, weight / weight.sum(), game.asked)
    return judged.value(values) | {
        "gap": judged.value(values - fixed),
        "arms": int(both.any(axis=(0, 1)).sum()),
        "queries": int(able.any(axis=0).sum()),
    }


def _families(world: World, game: _Population) -> dict[str, Any]:
    """{names, query, arms}: the query groups, each query's place among them, and each group's best fixed arm."""
    names, place = np.unique(world.groups, return_inverse=True)
    worth = np.einsum("pq,pqk->qk", game.weight, game.expected)
    totals = np.stack([worth[place == i].sum(axis=0) for i in range(len(names))])
    arms = np.where(game.always, totals, -np.inf).argmax(axis=1)
    return {
        "names": names.tolist(),
        "query": place.tolist(),
        "arms": [world.catalog.arms[arm].name for arm in arms] if game.always.any() else None,
    }


def _plane(game: _Population) -> dict[str, Any]:
    """The lines and points of the quality-cost plane, [cost, quality] each."""

    def point(arms: Array) -> list[float]:
        return [game.mean(game.pick(game.cost, arms)), game.mean(game.pick(game.quality, arms))]

    scale = game.cost[game.bandit.mask].mean() or 1.0
    curve = [point(game.best(game.quality - price / scale * game.cost)) for price in EXCHANGE]
    plane: dict[str, Any] = {"oracle": point(game.best(game.expected)), "oracle_curve": upper_hull(np.array(curve))}
    fixed = np.column_stack([game.arm_mean(game.cost), game.arm_mean(game.quality)])[game.always]
    if len(fixed):
        hull = upper_hull(fixed)
        plane |= {"hull": hull, "random_line": hull[[0, -1]]}
    return {name: np.asarray(points).tolist() for name, points in plane.items()}
