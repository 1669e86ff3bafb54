"""Means over a window of rounds, their paired differences and ratios, and how long an agent takes to recover."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from experiments import statistics
from experiments.results import Array, Cell

METRICS = ("reward", "accuracy", "cost", "regret")
"""What is measured: per round, accuracy as a share; `regret` alone is a sum over the window."""
CURVE = {"reward": "reward", "accuracy": "quality", "cost": "cost", "regret": "regret"}


class Estimate(NamedTuple):
    """A value and its 95% interval over seeds (NaN with one seed)."""

    value: float
    low: float
    high: float


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


def mean(values: Array) -> Estimate:
    """The mean of (S,) values."""
    low, high = statistics.mean_interval(values)
    return Estimate(float(values.mean()), float(low), float(high))


def ratio(values: Array, others: Array) -> Estimate:
    """The ratio of two means over the same seeds, (S,) each."""
    replicates = statistics.mean_replicates(values) / statistics.mean_replicates(others)
    low, high = statistics.interval(replicates, len(values))
    return Estimate(float(values.mean() / others.mean()), float(low), float(high))


def median_cost(cell: Cell, agent: str, window: Window) -> float:
    """The median over the window's rounds (all seeds) of the mean cost of the arm that was played."""
    pulls = cell.agents[agent].arms[bins(cell, window)].sum(axis=0)
    cost = np.array(cell.references["arms"]["cost"])
    order = np.argsort(cost)
    return float(cost[order][np.searchsorted(np.cumsum(pulls[order]), pulls.sum() / 2)])


def recovery(cell: Cell, agent: str, change: Window, yardstick: str = "random", trail: int = 30) -> Estimate:
    """Rounds after a change of conditions until an agent is as good again as it was before.

    As good: its regret over the last `trail` rounds, as a share of the yardstick agent's mean regret under the same
    conditions, is at most what it was over the `trail` rounds before the change, plus a tenth. Shares make regrets
    comparable across rewards. An agent that has not recovered when the conditions change again counts as needing all
    of those rounds, so a value near that is "at least".

    Args:
        cell: of a scenario.
        agent: whose recovery.
        change: the rounds from the change on to the next one.
        yardstick: an agent that does not learn.
        trail: rounds, a multiple of the bin's.
    """
    width, first = trail // cell.bin_rounds, bins(cell, change)
    before = bins(cell, Window(_last_change(cell, change.start), change.start))
    own = statistics.mean_replicates(cell.agents[agent].curves["regret"])
    base = statistics.mean_replicates(cell.agents[yardstick].curves["regret"])
    whole = [cell.agents[name].curves["regret"].mean(axis=0, dtype=np.float64)[None] for name in (agent, yardstick)]

    def rounds(mine: Array, other: Array) -> Array:
        """(B,) rounds to recover, for (B, C) mean curves."""
        level = mine[:, first.start - width : first.start].mean(axis=1) / other[:, before].mean(axis=1)
        share = mine[:, first] / other[:, first].mean(axis=1, keepdims=True)
        trailing = np.lib.stride_tricks.sliding_window_view(share, width, axis=1).mean(axis=-1)
        good = trailing <= 1.1 * level[:, None]
        waited = np.where(good.any(axis=1), good.argmax(axis=1) + width, first.stop - first.start)
        # A window that is good from the start shows no loss: the change did no harm.
        return np.asarray(np.where(good[:, 0], 0, waited) * cell.bin_rounds)

    low, high = statistics.interval(rounds(own, base), len(cell.seeds))
    return Estimate(float(rounds(*whole)[0]), float(low), float(high))


def _last_change(cell: Cell, start: int) -> int:
    """The round at which the conditions before `start` came into force."""
    return max(int(change) for change in cell.references["segments"] if change < start)
