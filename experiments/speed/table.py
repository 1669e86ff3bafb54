"""The speed table: everything is timed in turn in one process, regret is compared first, and ratios follow."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from agents import linear_thompson, linucb, linucb_shared, neural_linear_ucb
from agents.agent import Agent
from agents.spec import Spec
from experiments import backend
from experiments.config import ConfigError
from experiments.speed import clock, environments, limits
from experiments.speed.loops import Loop
from experiments.speed.ours import Ours
from experiments.speed.peers import ALPHA, BY_HAND, NEURAL_RIDGE, PEERS, RIDGE, SCALE, trouble
from experiments.speed.problem import Problem, make_problem
from experiments.store import write_json

OURS: dict[str, Callable[[Spec], Agent]] = {
    "linucb_disjoint": lambda spec: linucb(spec, ALPHA, RIDGE, intercept=False),
    "linucb_shared": lambda spec: linucb_shared(spec, ALPHA, RIDGE, "concat", normalise=False, intercept=False),
    "linear_thompson": lambda spec: linear_thompson(spec, SCALE, RIDGE, intercept=False),
    "neural_linear": lambda spec: neural_linear_ucb(spec, ALPHA, NEURAL_RIDGE),
}
FEW, MANY, SHORT = 288, 1152, 500
"""Arms of the comparison of sizes, with the same features, and the rounds it takes."""


def command(rounds: int, seeds: int, arms: int, dim: int, repeats: int, with_peers: bool, path: Path | None) -> int:
    """`speed`: measures, prints, and writes JSON if a path is given.

    Raises:
        ConfigError: naming the option that does not fit.
    """
    console = Console()
    for name, value, least in (("rounds", rounds, 100), ("seeds", seeds, 2), ("dim", dim, 2), ("repeats", repeats, 1)):
        if value < least:
            raise ConfigError(f"--{name} {value}: expected at least {least}")
    backend.configure()
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are those of a first run
    try:
        problem = make_problem(arms, dim, rounds)
    except ValueError as error:
        raise ConfigError(f"--arms: {error}") from None
    with console.status("measuring"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other libraries' about newer versions of what they use
        result = measure(problem, seeds, repeats, with_peers)
    show(result, console)
    if path is not None:
        write_json(path, result)
    return 0


def measure(problem: Problem, seeds: int, repeats: int, with_peers: bool) -> dict[str, Any]:
    """Times everything on one problem; what comes out is what `--json` writes."""
    spec, horizon = problem.spec, problem.schedule.horizon
    threads = min(clock.cores(), seeds) if jax.default_backend() == "cpu" else 1  # an accelerator takes all at once
    ours = {name: Ours(problem, make(spec), seeds, threads) for name, make in OURS.items()}
    for arms in (FEW, MANY):
        sized = make_problem(arms, spec.context, min(horizon, SHORT))
        ours[_sized(arms)] = Ours(sized, OURS["linucb_shared"](sized.spec), seeds, threads)

    missing = {}
    compared = dict(BY_HAND)
    if with_peers:
        missing = {name: why for name in PEERS if (why := trouble(name, problem)) is not None}
        compared |= {name: peer for name, peer in PEERS.items() if name not in missing}
    bin_rounds = ours["linucb_disjoint"].plan.bin_rounds
    played = {
        name: Loop(problem, functools.partial(peer.make, problem), min(peer.rounds, horizon) // bin_rounds * bin_rounds)
        for name, peer in compared.items()
    }
    timings = clock.alternate(
        {name: case.run for part in (ours, played) for name, case in part.items()}
        | environments.cases()
        | limits.cases(spec.arms, spec.context, seeds),
        repeats,
    )
    rate = {name: timing.rate for name, timing in timings.items()}
    learners = [*ours, *played]
    return {
        "problem": {
            "simulated": True, "arms": spec.arms, "dim": spec.context, "seeds": seeds, "rounds": horizon,
            "alpha": ALPHA, "ridge": RIDGE, "repeats": repeats, "threads": threads,
        },
        "machine": clock.machine(),
        "regret": {name: agreement(played[name], ours[p.against]) for name, p in compared.items() if p.same},
        "rounds_per_second": {name: tidy(rate[name]) for name in learners},
        "spread": {name: [tidy(end) for end in timings[name].spread] for name in learners},
        "rounds_per_cpu_second": {name: tidy(timings[name].cpu_rate) for name in learners},
        "compile_seconds": {name: round(case.compile_seconds, 2) for name, case in ours.items()},
        "against": {name: peer.against for name, peer in compared.items()},
        "ratios": {name: tidy(rate[peer.against] / rate[name]) for name, peer in compared.items()},
        "floor": limits.floor(spec.arms, spec.context, timings, rate["linucb_disjoint"]),
        "env_steps_per_second": {name: tidy(rate[name]) for name in ("env_step", "cartpole_step", "env_step_256")},
        "env_step_over_cartpole": tidy(rate["cartpole_step"] / rate["env_step"]),
        "vector_256_over_scalar": tidy(rate["env_step_256"] / rate["env_step"]),
        "cost_1152_over_288_arms": tidy(rate[_sized(FEW)] / rate[_sized(MANY)]),
        "missing_peers": missing,
    }  # fmt: skip


def agreement(loop: Loop, ours: Ours) -> dict[str, Any]:
    """Mean regret of both over the same rounds of the same tapes; trajectories part at the first tie.

    They agree if the mean difference is within four standard errors, or 2%.
    """
    theirs = np.array(loop.regret)
    own = ours.regret(len(theirs), loop.rounds)
    theirs = theirs[: len(own)]
    difference = theirs - own
    error = float(difference.std(ddof=1) / np.sqrt(len(own))) if len(own) > 1 else 0.0
    mean = float(difference.mean())
    return {
        "seeds": len(own),
        "rounds": loop.rounds,
        "theirs": tidy(float(theirs.mean())),
        "ours": tidy(float(own.mean())),
        "standard_error": tidy(error),
        "agrees": bool(abs(mean) <= max(4 * error, 0.02 * float(own.mean()))),
    }


def tidy(value: float) -> float:
    """Four significant digits, which is more than a clock gives."""
    return float(f"{value:.4g}")


def show(result: dict[str, Any], console: Console) -> None:
    """Prints what was measured: regrets, speeds with ratios, and the rest in sentences."""
    machine, problem = result["machine"], result["problem"]
    versions = machine["versions"]
    place = machine["accelerator"] or f"{machine['cores']} cores"
    beside = f"{machine['accelerator']} beside " if machine["accelerator"] else ""
    console.print(
        f"{beside}{machine['cpu']}, {machine['cores']} cores, Python {versions['python']}, JAX {versions['jax']}, "
        f"NumPy {versions['numpy']}; load {machine['load']}\n{problem['arms']} arms, d = {problem['dim']}, "
        f"{problem['seeds']} seeds, {problem['rounds']:,} rounds, a simulated world; medians of {problem['repeats']}\n",
        highlight=False,
    )
    console.print(
        _table(
            ("same algorithm", "its regret", "ours", "± s.e.", "over", ""),
            [
                (
                    name,
                    f"{found['theirs']:g}",
                    f"{found['ours']:g}",
                    f"{found['standard_error']:g}",
                    f"{found['seeds']} × {found['rounds']:,}",
                    "agrees" if found["agrees"] else "[red]differs[/]",
                )
                for name, found in result["regret"].items()
            ],
        )
    )
    console.print(
        _table(
            ("rounds per second", "median", "of runs", "per core", "compiling", "ours"),
            [
                (
                    name,
                    _short(rate),
                    "-".join(map(_short, result["spread"][name])),
                    _short(result["rounds_per_cpu_second"][name]),
                    f"{result['compile_seconds'][name]:.1f} s" if name in result["compile_seconds"] else "",
                    f"{result['ratios'][name]:,.3g} ×" if name in result["ratios"] else "",
                )
                for name, rate in result["rounds_per_second"].items()
            ],
        )
    )
    for name, peer in {**BY_HAND, **PEERS}.items():
        why = result["missing_peers"].get(name)
        if why is not None or name in result["ratios"]:
            against = "" if why is None else f"; not measured, {why}"
            console.print(f"  {name}: {peer.what}, beside {peer.against}{against}", highlight=False)
    floor = result["floor"]
    console.print(
        f"\nfloor of disjoint LinUCB: {floor['bytes_per_round'] / 1024:,.0f} KiB a round, read at "
        f"{floor['read_per_second'] / 1e9:,.0f} GB/s by {place}, "
        f"{floor['flops_per_round'] / 1e3:,.0f} kflop at {floor['matmul_per_second'] / 1e9:,.0f} Gflop/s: "
        f"so {floor['rounds_per_second']:,.0f} rounds/s; {floor['share_reached']:.0%} reached\n"
        f"env.step costs {result['env_step_over_cartpole']:.2g} of CartPole-v1's; 256 copies play "
        f"{result['vector_256_over_scalar']:.3g} × the rounds per second of one\n"
        f"{MANY} arms cost {result['cost_1152_over_288_arms']:.2g} × a round of {FEW} (shared LinUCB, same features)",
        highlight=False,
    )


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for i, title in enumerate(titles):
        table.add_column(title, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _short(rate: float) -> str:
    """Three digits or so: 347k, 11.9k, 290."""
    return f"{rate / 1e3:,.0f}k" if rate >= 1e5 else f"{rate / 1e3:.1f}k" if rate >= 1e3 else f"{rate:.0f}"


def _sized(arms: int) -> str:
    return f"linucb_shared_{arms}_arms"
