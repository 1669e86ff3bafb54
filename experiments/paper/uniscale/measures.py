"""Means over a window of rounds, their paired differences and ratios, and how long an agent takes to recover."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from experiments import statistics
from experiments.results import Array, Cell
from experiments.statistics import Estimate

METRICS = ("reward", "accuracy", "cost", "regret")
"""What is measured: per round, accuracy as a share; `regret` alone is a sum over the window."""
CURVE = {"reward": "reward", "accuracy": "quality", "cost": "cost", "regret": "regret"}


class Window(NamedTuple):
    """Rounds [start, stop) of an episode; both must end a curve bin."""

    start: int
    stop: int


def bins(cell: Cell, window: Window) -> slice:
    """The curve bins of a window.

    Raises:
        ValueError: if the window leaves the episode or does not start and stop where bins do.
    """
    start, stop = window
    if not 0 <= start < stop <= cell.rounds:
        raise ValueError(f"rounds {start}..{stop} are not a part of the {cell.rounds} rounds of {cell.key.label}")
    if start % cell.bin_rounds or (stop % cell.bin_rounds and stop != cell.rounds):
        raise ValueError(f"rounds {start}..{stop} do not end bins of {cell.bin_rounds} rounds in {cell.key.label}")
    return slice(start // cell.bin_rounds, -(-stop // cell.bin_rounds))


def measure(cell: Cell, agent: str, metric: str, window: Window, seeds: int | None = None) -> Array:
    """(S,) float64: a metric of an agent in a window, for the first `seeds` seeds (None: all)."""
    curve = cell.agents[agent].curves[CURVE[metric]][:seeds, bins(cell, window)]
    total = curve.sum(axis=1, dtype=np.float64)
    return np.asarray(total if metric == "regret" else total / (window.stop - window.start))


def median_cost(cell: Cell, agent: str, window: Window) -> float:
    """The median over the window's rounds (all seeds) of the mean cost of the arm that was played."""
    pulls = cell.agents[agent].arms[bins(cell, window)].sum(axis=0)
    cost = np.array(cell.references["arms"]["cost"])
    order = np.argsort(cost)
    return float(cost[order][np.searchsorted(np.cumsum(pulls[order]), pulls.sum() / 2)])


class Recovery(NamedTuple):
    """What a change of conditions does to an agent.

    Attributes:
        before, after, end: regret per round over the `trail` rounds before the change, after it, and at the end of the
            new conditions.
        recover: rounds from the change until the agent is as good as before: until its regret over `trail` rounds, as a
            share of the yardstick agent's under the same conditions, is within a tenth of what it was before. Shares
            make regrets comparable across rewards, but not conditions that differ in difficulty.
        settle: rounds until its regret over `trail` rounds is within a tenth of that at the end.

    Both are 0 if nothing was lost, and all rounds of the new conditions if it never happens (then "at least").
    """

    before: float
    after: float
    end: float
    recover: Estimate
    settle: Estimate


def recovery(cell: Cell, agent: str, change: Window, yardstick: str, trail: int = 30) -> Recovery:
    """How an agent fares after a change of conditions.

    Args:
        cell: of a scenario.
        agent: whose recovery.
        change: the rounds from the change on to the next one.
        yardstick: an agent that learns nothing.
        trail: rounds, a multiple of the bin's.
    """
    width, now = trail // cell.bin_rounds, bins(cell, change)
    last = slice(now.start - width, now.start)
    then = bins(cell, Window(_last_change(cell, change.start), change.start))

    def waits(mine: Array, other: Array) -> tuple[Array, Array]:
        """(B,) rounds to recover and to settle, for (B, C) mean curves."""
        share = mine[:, now] / other[:, now].mean(axis=1, keepdims=True)
        trailing = np.lib.stride_tricks.sliding_window_view(share, width, axis=1).mean(axis=-1)
        before = mine[:, last].mean(axis=1) / other[:, then].mean(axis=1)
        return first(trailing <= 1.1 * before[:, None]), first(trailing <= 1.1 * trailing[:, -1:])

    def first(good: Array) -> Array:
        waited = np.where(good.any(axis=1), good.argmax(axis=1) + width, now.stop - now.start)
        return np.asarray(np.where(good[:, 0], 0, waited) * cell.bin_rounds)

    curves = [cell.agents[name].curves["regret"] for name in (agent, yardstick)]
    mean_curves = [curve.mean(axis=0, dtype=np.float64)[None] for curve in curves]
    resampled = [statistics.mean_replicates(curve) for curve in curves]
    intervals = [statistics.interval(wait, len(cell.seeds)) for wait in waits(*resampled)]
    recover, settle = (
        Estimate(float(wait[0]), *map(float, ends)) for wait, ends in zip(waits(*mean_curves), intervals, strict=True)
    )
    own = mean_curves[0][0] / cell.bin_rounds
    levels = (last, slice(now.start, now.start + width), slice(now.stop - width, now.stop))
    before, after, end = (float(own[part].mean()) for part in levels)
    return Recovery(before, after, end, recover, settle)


def _last_change(cell: Cell, start: int) -> int:
    """The round at which the conditions before `start` came into force."""
    return max(int(change) for change in cell.references["segments"] if change < start)
