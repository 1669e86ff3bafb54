"""The oracle of a workflow: dynamic programming over (steps, needed successes, seconds, tokens) left."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uis_env.workflow.core import Situation, Tables, Workflow

Array = NDArray[Any]
_SLACK = 1e-6
"""Amounts this close to a whole number of units (relative, float32 tables) are that number."""


class Grid(NamedTuple):
    """Whole units of a limit: `units` make up `limit`; without a limit there is one cell and nothing is used up."""

    limit: float
    units: int

    def floor(self, left: Array) -> Array:
        """Units that are surely left; at least 0."""
        if not self.units:
            return np.zeros(np.shape(left), np.intp)
        return np.clip(np.floor(self._scaled(left) + _SLACK * self.units), 0, self.units).astype(np.intp)

    def used(self, amount: Array, up: bool) -> Array:
        """Units that an amount takes, rounded up or down; units + 1 for what exceeds the limit either way."""
        if not self.units:
            return np.zeros(np.shape(amount), np.intp)
        scaled = self._scaled(amount)
        slack = _SLACK * self.units
        whole = np.ceil(scaled - slack) if up else np.floor(scaled + slack)
        return np.clip(whole, 0, self.units + 1).astype(np.intp)

    def _scaled(self, amount: Array) -> Array:
        return np.asarray(amount, np.float64) * (self.units / self.limit)


class Grids(NamedTuple):
    """Seconds and tokens in units, and how use is rounded: up or down; `exact` where it never has to be."""

    seconds: Grid
    tokens: Grid
    up: bool
    exact: bool


class Plan:
    """What dynamic programming found; a `Policy` for the workflow.

    Attributes:
        value: (G,) float64, expected return of a task of each group.
        values: (G, S + 1, quorum + 1, seconds units + 1, token units + 1) float64, value to go by steps left, successes
            needed and units left; 0 where the task is over.
    """

    def __init__(self, flow: Workflow, values: Array, grids: Grids) -> None:
        self.flow, self.values, self._grids = flow, values, grids
        self._known: dict[tuple[int, ...], int] = {}
        self.value: Array = values[:, flow.steps, flow.quorum, -1, -1]

    def __call__(self, seen: Situation) -> Array:
        """(n,) the arm of greatest expected return for each of n tasks."""
        seconds, tokens, *_ = self._grids
        left = zip(
            seen.query.tolist(),
            seen.group.tolist(),
            seen.steps.tolist(),
            seen.need.tolist(),
            seconds.floor(seen.seconds).tolist(),
            tokens.floor(seen.tokens).tolist(),
            strict=True,
        )
        choices = []
        for state in left:
            if state not in self._known:
                self._known[state] = self._choose(*state)
            choices.append(self._known[state])
        return np.array(choices)

    def _choose(self, query: int, group: int, steps: int, need: int, seconds: int, tokens: int) -> int:
        if not (steps and need):
            return int(self.flow.tables.mask[query].argmax())  # the task is over, any arm will do
        after = _after(self.flow, self.values[group], query, steps, need, self._grids)
        return int(after(np.array([seconds]), np.array([tokens]))[0, 0].argmax())


def plan(flow: Workflow, second_units: int = 60, token_units: int = 60, optimistic: bool = False) -> Plan:
    """Solves the workflow by backward induction on a grid of what is left.

    With V over (L steps left, n successes needed, seconds i, tokens j), q uniform over the task's group and the outcome
    one of the R stored draws:
    `V(L, n, i, j) = E_q max_a mean_r [−spent + w·[n = 1 and right] + V(L − 1, n − right, i − used, j − used)]`, where
    an outcome that uses more than is left, or leaves n > L − 1, ends the task.

    Use is rounded up to whole units, so `value` is a lower bound of the optimum, and the plan, played on the true
    amounts, earns at least that in expectation. `optimistic` rounds down: an upper bound. Where every use is a whole
    number of units both are the optimum. To overrun may be better than to go on, as it ends what a lost task costs:
    where rounding leaves it open which of both happens, the lower bound takes the worse, the upper one the better.

    Time and memory grow with the queries of a group × R × K × (second_units + 1) × (token_units + 1) × S·quorum: for
    small instances.

    Args:
        flow: the workflow.
        second_units: grid cells of the deadline; not used without one.
        token_units: grid cells of the token budget; not used without one.
        optimistic: whether use is rounded down.

    Raises:
        ValueError: if a number of units is below 1.
    """
    if second_units < 1 or token_units < 1:
        raise ValueError(f"second_units and token_units are {second_units} and {token_units}, expected >= 1")
    limits = flow.limits
    seconds = Grid(limits[0], second_units if math.isfinite(limits[0]) else 0)
    tokens = Grid(limits[1], token_units if math.isfinite(limits[1]) else 0)
    used = ((seconds, flow.tables.seconds), (tokens, flow.tables.tokens))
    exact = all(np.array_equal(grid.used(table, True), grid.used(table, False)) for grid, table in used)
    grids = Grids(seconds, tokens, not optimistic, exact)
    shape = (len(flow.groups), flow.steps + 1, flow.quorum + 1, seconds.units + 1, tokens.units + 1)
    values = np.zeros(shape)
    cells = np.arange(seconds.units + 1), np.arange(tokens.units + 1)
    for group in range(len(flow.groups)):
        members = flow.tables.members[group, : flow.tables.sizes[group]].tolist()
        for steps in range(1, flow.steps + 1):
            for need in range(1, min(steps, flow.quorum) + 1):
                for query in members:
                    after = _after(flow, values[group], query, steps, need, grids)
                    values[group, steps, need] += after(*cells).max(axis=-1) / len(members)
    return Plan(flow, values, grids)


def _after(flow: Workflow, values: Array, query: int, steps: int, need: int, grids: Grids) -> Any:
    """A function of (I,) seconds and (J,) token cells: (I, J, K) expected return of every arm, −inf where masked."""
    tables: Tables = flow.tables
    right = tables.right[query]
    used = grids.seconds.used(tables.seconds[query], grids.up), grids.tokens.used(tables.tokens[query], grids.up)
    won = values[steps - 1, need - 1] if need > 1 else np.full_like(values[0, 0], flow.reward.quality)
    lost = values[steps - 1, need] if need <= steps - 1 else np.zeros_like(values[0, 0])
    go_on = np.stack([lost, won])
    spent = tables.spent[query].mean(axis=0, dtype=np.float64)
    mask = tables.mask[query]

    def returns(seconds: Array, tokens: Array) -> Array:
        total = np.zeros((len(seconds), len(tokens), right.shape[1]))
        for took, cost, fine in zip(*used, right.astype(np.intp), strict=True):  # one draw after the other: less memory
            i, j = seconds[:, None] - took, tokens[:, None] - cost
            within = (i >= 0)[:, None, :] & (j >= 0)[None, :, :]
            further = go_on[fine, np.maximum(i, 0)[:, None, :], np.maximum(j, 0)[None, :, :]]
            if grids.exact:
                total += np.where(within, further, 0.0)
            elif grids.up:  # more may be left than the cells say: perhaps it goes on
                total += np.where(within, further, np.minimum(further, 0.0))
            else:  # less may be left: perhaps it overruns
                total += np.where(within, np.maximum(further, 0.0), 0.0)
        return np.where(mask, total / len(right) - spent, -np.inf)

    return returns
