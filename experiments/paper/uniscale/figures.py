"""The paper's figures: cumulative regret, reward over time around a drift, correct answers against cost, horizons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from experiments import statistics
from experiments.charts import Line, chart
from experiments.html import Figure
from experiments.paper.uniscale import measures
from experiments.paper.uniscale.claims import WARMUP
from experiments.paper.uniscale.measures import Window
from experiments.results import Array, Cell

TRAIL = 3
"""Curve bins that are averaged in a curve of reward over time."""
MOST = 10
"""Most lines of a chart."""


def regret(cell: Cell) -> Figure:
    """Cumulative regret of the learners and of the best fixed arm."""
    x = _ends(cell)
    lines = []
    for agent in _shown(cell):
        summed = np.cumsum(cell.agents[agent].curves["regret"], axis=1, dtype=np.float64)
        lines.append(Line(agent, x, summed.mean(axis=0), *statistics.mean_interval(summed)))
    return Figure(
        "Cumulative regret",
        chart(lines, "round", "regret", marks=_marks(cell)),
        f"Against the best arm per query by the table's own expectation; bands are 95% over {len(cell.seeds)} seeds.",
    )


def reward_over_time(cell: Cell) -> Figure:
    """Mean reward over a trailing window, with the changes of conditions marked."""
    width = min(TRAIL, len(_ends(cell)))
    lines = []
    for agent in _shown(cell):
        curve = cell.agents[agent].curves["reward"] / cell.bin_rounds
        trailing = np.lib.stride_tricks.sliding_window_view(curve, width, axis=1).mean(axis=-1)
        lines.append(Line(agent, _ends(cell)[width - 1 :], trailing.mean(axis=0), *statistics.mean_interval(trailing)))
    return Figure(
        "Reward over time",
        chart(lines, "round", f"mean reward of {width * cell.bin_rounds} rounds", marks=_marks(cell)),
        "Dashed verticals: conditions change. The best fixed arm is one that is on offer throughout.",
    )


def correct_against_cost(cell: Cell) -> Figure:
    """Correct answers so far against cost so far, from the end of the warm-up; a dot where the episode ends."""
    after = measures.bins(cell, Window(WARMUP, cell.rounds))
    lines = []
    for agent in [*_shown(cell), *([cell.oracle] if cell.oracle else [])]:
        curves = cell.agents[agent].curves
        spent = np.cumsum(curves["cost"][:, after].mean(axis=0, dtype=np.float64))
        right = np.cumsum(curves["quality"][:, after].mean(axis=0, dtype=np.float64))
        lines.append(Line(agent, spent, right))
    unit = {"eflops": "tera-eFLOPs", "dollars": "USD"}[cell.references["cost_channel"]]
    return Figure(
        "Correct answers against cost",
        chart(lines, f"cost so far, {unit} (log)", "correct so far", log_x=True, dots=True),
        f"Summed from round {WARMUP} on, means over seeds; further up and to the left is better.",
    )


def horizons(cell: Cell) -> Figure:
    """Mean reward up to each round minus that of the best fixed arm, on a logarithmic axis of rounds."""
    first = WARMUP // cell.bin_rounds
    x = _ends(cell)[first:]
    lines = []
    for agent in _shown(cell):
        if cell.best_fixed is not None and cell.entrants[agent].kind not in ("best_fixed", "random"):
            difference = _running(cell, agent, first) - _running(cell, cell.best_fixed, first)
            lines.append(Line(agent, x, difference.mean(axis=0), *statistics.mean_interval(difference)))
    return Figure(
        "Learning curve over horizons",
        chart(lines, "rounds (log)", "reward − best fixed arm's", log_x=True),
        f"Mean reward per round from round {WARMUP} on, paired by seed; bands are 95% over {len(cell.seeds)} seeds. "
        "The best fixed arm is that of the whole run.",
    )


def figures(config: str, cells: Sequence[Cell]) -> Iterator[tuple[Cell, list[Figure]]]:
    """Which figures stand for which cells of a config."""
    for cell in cells:
        if "horizons" in config:
            yield cell, [horizons(cell)]
        elif len(cell.references["segments"]) > 1:
            yield cell, [reward_over_time(cell), regret(cell)]
        elif cell.references["cost_channel"] is not None:
            yield cell, [regret(cell), correct_against_cost(cell)]
        else:
            yield cell, [regret(cell)]


def _running(cell: Cell, agent: str, first: int) -> Array:
    """(S, bins) mean reward per round from bin `first` to each later one."""
    total = np.cumsum(cell.agents[agent].curves["reward"][:, first:], axis=1, dtype=np.float64)
    return np.asarray(total / (_ends(cell)[first:] - first * cell.bin_rounds))


def _shown(cell: Cell) -> list[str]:
    """The agents of a chart, in the order of their colours: the best fixed arm and the first others of the config."""
    others = [agent for agent in cell.agents if cell.role(agent) != "reference"]
    return [*([cell.best_fixed] if cell.best_fixed else []), *others][:MOST]


def _ends(cell: Cell) -> Array:
    """The rounds at which curve bins end."""
    count = -(-cell.rounds // cell.bin_rounds)
    return np.minimum(np.arange(1, count + 1) * cell.bin_rounds, cell.rounds)


def _marks(cell: Cell) -> list[tuple[float, str]]:
    changes: list[tuple[float, str]] = [(start, "change") for start in cell.references["segments"][1:]]
    return changes or [(WARMUP, "warm-up ends")]
