"""The test-time-scaling methods: each an async function (ask, *budget) -> Answer, its calls in the ask's ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from uis_env.live.strategies.ask import Answer, Ask, Search
from uis_env.live.strategies.refine import self_refine
from uis_env.live.strategies.sampling import adaptive_consistency, best_of_n, majority, single, weighted_best_of_n
from uis_env.live.strategies.search import beam_search, tree_search

__all__ = ["METHODS", "Answer", "Ask", "Method", "Search", "check_budget"]


class Method(NamedTuple):
    """A method and the names of its budget's entries."""

    run: Callable[..., Awaitable[Answer]]
    budget: tuple[str, ...]


METHODS = {
    "single": Method(single, ("N",)),
    "best_of_n": Method(best_of_n, ("N",)),
    "weighted_best_of_n": Method(weighted_best_of_n, ("N",)),
    "majority": Method(majority, ("N",)),
    "adaptive_consistency": Method(adaptive_consistency, ("N",)),
    "self_refine": Method(self_refine, ("rounds",)),
    "beam_search": Method(beam_search, ("N", "width", "depth")),
    "tree_search": Method(tree_search, ("QP", "CP", "BS")),
}


def check_budget(method: str, budget: tuple[int, ...]) -> None:
    """Raises ValueError, naming what was expected, unless the budget is one of the method's."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}, expected one of {', '.join(METHODS)}")
    names = METHODS[method].budget
    if len(budget) != len(names) or any(value < 1 for value in budget):
        raise ValueError(f"{method} has budget {list(budget)}, expected integers >= 1 for ({', '.join(names)})")
    if method == "single" and budget != (1,):
        raise ValueError(f"single has budget {list(budget)}, expected [1]")
    if method == "beam_search" and budget[0] % budget[1]:
        raise ValueError(f"beam_search has budget {list(budget)}, expected N to be a multiple of width")
