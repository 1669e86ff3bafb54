"""The tree-search world: every (model, QP, CP, BS) on every problem, simulated, as a `World`."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.arms import Arm, ArmCatalog, arm_features
from uis_env.costs import INTENSITY, ModelCard, compute_and_memory, eflops
from uis_env.listing import public
from uis_env.world import Channels, World, mean_ends
from uis_env.worlds.cache import cached_world
from uis_env.worlds.tree_search.fits import FITS, GROUPS, MAX_STEPS, Fit, model_cards
from uis_env.worlds.tree_search.problems import Problems, make_problems, query_features
from uis_env.worlds.tree_search.simulator import VERSION, Trees, search

Array = NDArray[Any]

GRIDS = {"powers": (1, 2, 4, 8), "integers": tuple(range(1, 9))}
"""QP and CP of the arms; the paper's grid is not fully known: powers of two make 288 arms, all integers 1152."""
SIZES = ("QP", "CP", "BS")
"""The parts of a budget: sub-trees, candidates per kept path and step, paths kept per step."""
BEAMS = (1, 2, 4)
"""BS of the arms."""
LOG_COST = {"cost_channel": "eflops", "transform": "log"}
COST_SENSITIVE = {"quality": 0.3, "score": 0.2, "cost": 0.5, "offset": 0.5, **LOG_COST}
"""UniScale's reward in Cost-Sensitive mode, `.3·correct + .2·score + .5·(1 − c~)`: weights and log cost, our choice."""
QUALITY_PRIORITY = {"quality": 0.6, "score": 0.2, "cost": 0.2, "offset": 0.2, **LOG_COST}
"""The same in Quality-Priority mode, `.6·correct + .2·score + .2·(1 − c~)`: our choice."""


def tree_search(
    fit: str = "A",
    grid: str = "powers",
    draws: int = 32,
    early_exit: bool = False,
    v_sup: float | None = None,
    seed: int | None = None,
    cache: bool = True,
) -> World:
    """UniScale's world (arXiv 2605.30898), *simulated*: PRM-guided tree search on 150 MATH and 60 AIME problems.

    The paper's data is not public. This world is a step-level simulation whose parameters were fitted to published
    accuracies and costs before any agent saw it; `python -m uis_env.worlds.tree_search.calibrate` reports targets and
    what is reached. Channels: quality (0/1), score (final V of the chosen path), eflops (Kinetics, arXiv 2506.05333,
    I = 156, the PRM's own compute left out) and tokens (all candidates). Sub-trees run one after the other, so a
    budget's eflops and tokens are sums over its QP sub-trees. No dollars, no latency.

    Expectations are means over the draws; the halves are means over the first and the second half of the draws, which
    are independent. Arms of one (model, CP, BS) read prefixes of the same sub-trees, so within a draw they are not.

    The same arguments give the same world on every machine, up to rare ties in float32.

    Args:
        fit: "A" or "B", two parameter settings that meet the targets about equally well.
        grid: "powers" (QP, CP in 1, 2, 4, 8: 288 arms) or "integers" (1 to 8: 1152 arms); BS in 1, 2, 4.
        draws: R, independent repetitions of every arm on every problem; even.
        early_exit: whether path-aware early exit prunes.
        v_sup: the bound in its rule, in (0, 1]; None takes the fit's, which gives the published saving. An error
            without early exit.
        seed: draws the problems and the outcomes; None takes the one the fit was calibrated with.
        cache: whether to keep the world in, and take it from, the user's cache folder.

    Raises:
        ValueError: naming the argument that is unknown or out of range.
    """
    if fit not in FITS:
        raise ValueError(f"fit is {fit!r}, expected one of {', '.join(FITS)}")
    if grid not in GRIDS:
        raise ValueError(f"grid is {grid!r}, expected one of {', '.join(GRIDS)}")
    if draws < 2 or draws % 2:
        raise ValueError(f"draws is {draws}, expected an even number >= 2 (they are split in halves)")
    if v_sup is not None and not early_exit:
        raise ValueError(f"v_sup is {v_sup}, but without early_exit there is no rule that uses it")
    if v_sup is not None and not 0 < v_sup <= 1:
        raise ValueError(f"v_sup is {v_sup}, expected a number in (0, 1], a bound on the value of a step")
    seed = FITS[fit].seed if seed is None else seed
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected an integer >= 0")
    bound = None if not early_exit else FITS[fit].v_sup if v_sup is None else v_sup
    key = {
        "world": "TreeSearch",
        "simulator": VERSION,
        "fit": fit,
        "parameters": dataclasses.asdict(FITS[fit]),
        "seed": seed,
        "grid": grid,
        "draws": draws,
        "v_sup": bound,
    }
    if not cache:
        return simulate(FITS[fit], GRIDS[grid], draws, seed, bound, key)
    return cached_world(key, lambda: simulate(FITS[fit], GRIDS[grid], draws, seed, bound, key))


def simulate(
    fit: Fit, sizes: tuple[int, ...], draws: int, seed: int, v_sup: float | None, settings: dict[str, Any]
) -> World:
    """Simulates the whole table; `settings` goes into the provenance."""
    cards = model_cards()
    problems = make_problems(fit, seed)
    catalog = make_catalog(cards, sizes, early_exit=v_sup is not None)
    shape = (len(problems.group), draws, len(cards), len(sizes), len(sizes), len(BEAMS))
    table = {name: np.empty(shape, np.float32) for name in ("quality", "score", "eflops", "tokens")}

    def fill(cell: tuple[int, int, int]) -> None:
        model, c, b = cell
        runs = search(fit, problems, model, max(sizes), sizes[c], BEAMS[b], draws, seed, v_sup)
        parts = {
            "quality": runs.correct,
            "score": runs.value,
            "eflops": tera_eflops(cards[model], problems, runs),
            "tokens": runs.tokens,
        }
        for name, part in parts.items():
            table[name][:, :, model, :, c, b] = part[[size - 1 for size in sizes]].transpose(2, 1, 0)

    # Threads, because NumPy leaves the interpreter free; every cell has its own random numbers, so order is no matter.
    cells = itertools.product(range(len(cards)), range(len(sizes)), range(len(BEAMS)))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(fill, cells):
            pass

    flat = {name: array.reshape(*shape[:2], -1) for name, array in table.items()}

    def mean(part: slice) -> Channels:
        return Channels(**{name: array[:, part].mean(axis=1, dtype=np.float64) for name, array in flat.items()})

    def single(channels: Channels) -> Channels:
        return Channels(**{name: array.astype(np.float32) for name, array in channels.present().items()})

    expected = mean(slice(None))
    half = draws // 2
    return World(
        name="TreeSearch",
        simulated=True,
        catalog=catalog,
        contexts={"features": query_features(problems, seed)},
        channels=Channels(**flat),
        expected=single(expected),
        recorded=np.ones((shape[0], len(catalog)), bool),
        query_ids=tuple(f"{GROUPS[g].lower().replace(' ', '-')}-{i:03d}" for i, g in enumerate(problems.group)),
        groups=tuple(GROUPS[g] for g in problems.group),
        halves=(single(mean(slice(half))), single(mean(slice(half, None)))),
        cost_ends=mean_ends(expected),
        defaults=COST_SENSITIVE,
        provenance={
            "source": "simulated: step-level model of PRM-guided tree search, calibrated to published numbers",
            "expectation": f"mean over {draws} draws",
            "halves": "means over the first and the second half of the draws, independent of each other",
            "cost": "tera-eFLOPs (Kinetics, arXiv 2506.05333), sub-trees one after the other, without the PRM's own",
            "intensity": INTENSITY,
            "public": public(cards, tokens=512),
            "max_steps": MAX_STEPS,
            "features": "simulated query features, 24-d, unit length; bias",
            "settings": settings,
        },
    )


def tera_eflops(card: ModelCard, problems: Problems, runs: Trees) -> Array:
    """(QP, R, Q) tera-eFLOPs of the runs (the Kinetics formula is linear in its sums, so they add over sub-trees)."""
    return eflops(*compute_and_memory(card, problems.prompt, runs.tokens, runs.squares, runs.steps))


def make_catalog(cards: tuple[ModelCard, ...], sizes: tuple[int, ...], early_exit: bool) -> ArmCatalog:
    """All (model, QP, CP, BS): one-hot parts, log sizes and log parameters in [0, 1]; a text for each."""
    triples = list(itertools.product(cards, sizes, sizes, BEAMS))
    arms = tuple(Arm(card.name, "tree_search", (trees, width, beam)) for card, trees, width, beam in triples)
    budgets = np.array([arm.budget for arm in arms])
    features, names = arm_features(
        labels={"model": [arm.model for arm in arms], **dict(zip(SIZES, budgets.T.tolist(), strict=True))},
        numbers={
            **{f"log2_{size}": np.log2(column) for size, column in zip(SIZES, budgets.T, strict=True)},
            "log_params": np.log([card.params or math.nan for card, *_ in triples]),
        },
    )
    return ArmCatalog(
        arms=arms,
        features=features,
        feature_names=names,
        descriptions=tuple(describe(*setting, early_exit=early_exit) for setting in triples),
    )


def describe(card: ModelCard, trees: int, width: int, beam: int, early_exit: bool) -> str:
    """An arm in words, for text encoders."""

    def count(n: int, noun: str) -> str:
        return f"{n} {noun}{'s' if n > 1 else ''}"

    return (
        f"{card.name}, {(card.params or math.nan) / 1e9:.1f} billion parameters; tree search guided by a process "
        f"reward model: {count(trees, 'sub-tree')}, {count(width, 'candidate')} per step, beam of {count(beam, 'path')}"
        f"{', with early exit' if early_exit else ''}"
    )
