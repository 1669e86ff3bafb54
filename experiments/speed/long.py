"""What a million rounds must not change: the memory of a run, and the agreement of float32 with float64.

python -m experiments speed --long
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from agents import (
    decomposed_linucb,
    linear_thompson,
    linear_thompson_shared,
    linucb,
    linucb_arm_only,
    linucb_shared,
    rollout,
)
from agents.agent import Agent
from agents.fusion import fuse, joint_rows
from agents.posterior import Gaussian
from agents.regression import Disjoint, Timed
from agents.spec import Spec
from experiments import backend
from experiments.backend import compiler_options
from experiments.speed.problem import Array, Problem, make_problem
from experiments.store import write_json

LONG, SHORT = 1_000_000, 10_000
RIDGE, DISCOUNT = 1.0, 0.999
ARMS, DIM = 24, 8
CHUNKS = 20


class Linear(NamedTuple):
    """A linear model within an agent.

    Attributes:
        make: the agent.
        fusion: of its features: "disjoint", one of `agents.fusion.fuse`, or "cost", disjoint on [1, x].
        discount: of its observations.
        belief: the model's posterior in the agent's state.
        target: what it regresses: the reward, the quality, or the cost over the arm's list cost (prior mean 1).
    """

    make: Callable[[Spec], Agent]
    fusion: str
    discount: float = 1.0
    belief: Callable[[Any], Any] = lambda state: state
    target: str = "reward"


def _agents() -> dict[str, Linear]:
    found = {}
    for discount in (1.0, DISCOUNT):
        options: dict[str, Any] = {"ridge": RIDGE, "discount": discount}
        for factory, fusion in (
            (linucb, "disjoint"),
            (linear_thompson, "disjoint"),
            (linucb_shared, "concat"),
            (linear_thompson_shared, "concat"),
            (linucb_shared, "kronecker"),
            (linucb_arm_only, "arm"),
        ):
            own = options | ({} if fusion == "arm" else {"intercept": False})
            own |= {"fusion": fusion} if fusion in ("concat", "kronecker") else {}
            whole = fusion != "disjoint" and discount == 1
            belief = Linear._field_defaults["belief"] if whole else _belief
            found[_name(factory, fusion, discount)] = Linear(_maker(factory, own), fusion, discount, belief)
        apart = _maker(decomposed_linucb, options | {"cost_ridge": RIDGE, "intercept": False})
        found[_name(decomposed_linucb, "quality", discount)] = Linear(
            apart, "disjoint", discount, lambda state: _belief(state.quality), "quality"
        )
        if discount == 1:  # costs are not forgotten
            found[_name(decomposed_linucb, "cost", discount)] = Linear(
                apart,
                "cost",
                discount,
                lambda state: state.priced.arms._replace(mean=state.priced.arms.mean[:, 0]),
                "cost",
            )
    return found


def _name(factory: Callable[..., Agent], what: str, discount: float) -> str:
    return f"{factory.__name__}, {what}" + ("" if discount == 1 else f", discount {discount:g}")


def _belief(state: Disjoint | Timed) -> Gaussian:
    return state.belief


def _maker(factory: Callable[..., Agent], options: dict[str, Any]) -> Callable[[Spec], Agent]:
    return lambda spec: factory(spec, **options)


AGENTS: Mapping[str, Linear] = MappingProxyType(_agents())
MEMORY = """
name = "long"
rounds = {rounds}
seeds = 2
[[worlds]]
name = "Recorded"
[[preferences]]
name = "balanced"
cost = 1000.0
[[agents]]
name = "linucb"
[[agents]]
name = "linear_thompson_shared"
[[agents]]
name = "neural_linear_ucb"
"""
"""A run whose peak memory is compared; the replay of the network holds 4,096 rounds in both."""


class Errors(NamedTuple):
    """Relative errors of a float32 posterior, the greatest over all models.

    Attributes:
        precision: of the precision matrix, in the Frobenius norm.
        deviation: of the standard deviation of any (query, arm).
        mean: of the predicted means, greatest difference over their root mean square.
    """

    precision: float
    deviation: float
    mean: float


def numerics(linear: Linear, problem: Problem, rounds: int) -> Errors:
    """Plays one seed in float32, and compares its posterior with the closed form of the same rounds in float64.

    Args:
        linear: what learns.
        problem: on what, for `rounds` rounds instead of its own horizon.
        rounds: T, a multiple of `CHUNKS`: rounds that fill up a last chunk would be learned from.
    """
    assert rounds % CHUNKS == 0
    schedule = dataclasses.replace(problem.schedule, horizon=rounds)
    agent = linear.make(dataclasses.replace(problem.spec, horizon=rounds))
    plan = rollout.make_plan(rounds, 1, CHUNKS, rounds // CHUNKS)
    seeds = rollout.make_seeds(problem.bandit, [schedule], [0], "long")
    carry = rollout.start(agent, 1, problem.tables, seeds)
    options = {"trace": True}
    step: Any = None
    bandit = problem.bandit
    table = {
        "reward": bandit.reward[0],
        "quality": bandit.channels.quality[0],
        "cost": bandit.cost[0] / problem.spec.list_cost.astype(np.float32),
    }[linear.target]
    pairs, targets = [], []
    for number in range(plan.chunks):
        part = rollout.make_rounds(plan, [schedule], [0], seeds.keys, number)
        args = (problem.tables, seeds, carry, part)
        if step is None:
            step = rollout.advance.lower(agent, plan, *args, **options).compile(compiler_options())
        carry, _, trace = step(*args)
        query, action = np.asarray(part.tape.query[0], np.int64), np.asarray(trace.action[0])
        pairs.append(query * problem.spec.arms + action)
        targets.append(table[query, np.asarray(part.tape.draw[0]), action].astype(np.float64))
    state = jax.tree.map(lambda leaf: np.asarray(leaf[0], np.float64), carry.state)
    return _compare(linear, problem, linear.belief(state), np.concatenate(pairs), np.concatenate(targets))


def _compare(linear: Linear, problem: Problem, belief: Any, pair: Array, target: Array) -> Errors:
    """`pair` is query * K + arm of every round."""
    arms, rows = problem.spec.arms, problem.bandit.context
    queries = len(rows)
    now, arm = np.arange(len(pair)), pair % arms
    disjoint = linear.fusion in ("disjoint", "cost")
    last = np.full(arms, len(pair) - 1)
    if disjoint:  # an arm is brought up to the round after it was played
        np.maximum.at(last := np.zeros(arms, np.int64), arm, now + 1)
    weight = linear.discount ** (last[arm] - now).astype(np.float64)
    weights = np.bincount(pair, weight, queries * arms).reshape(queries, arms)
    moments = np.bincount(pair, weight * target, queries * arms).reshape(queries, arms)

    errors = []
    if disjoint:
        if linear.fusion == "cost":
            rows = np.insert(rows, 0, 1.0, axis=1)
        start = np.eye(rows.shape[1])[0] * (linear.target == "cost")
        for k in range(arms):
            errors.append(_errors(belief.root[:, k].T, belief.mean[k], rows, weights[:, k], moments[:, k], start))
    else:
        phi = np.asarray(joint_rows(fuse(problem.spec, linear.fusion), jnp.asarray(rows)))
        errors.append(_errors(belief.root, belief.mean, phi, weights.ravel(), moments.ravel(), np.zeros(phi.shape[1])))
    return Errors(*(float(worst) for worst in np.max(np.array(errors), axis=0)))


def _errors(root: Array, mean: Array, rows: Array, weight: Array, moment: Array, start: Array) -> Errors:
    """One model against its closed form; rows (n, d) float32 with their weights and weighted targets; prior mean."""
    x = rows.astype(np.float64)
    precision = RIDGE * np.eye(x.shape[1]) + x.T @ (weight[:, None] * x)
    covariance, exact = np.linalg.inv(precision), np.linalg.solve(precision, x.T @ moment + RIDGE * start)
    own = np.linalg.inv(root.T @ root)
    deviation = np.linalg.norm(x @ root.T, axis=1) / np.sqrt(np.einsum("nd,de,ne->n", x, covariance, x))
    scale = np.sqrt(np.mean((x @ exact) ** 2)) or 1.0
    return Errors(
        float(np.linalg.norm(own - precision) / np.linalg.norm(precision)),
        float(np.abs(deviation - 1).max()),
        float(np.abs(x @ (mean - exact)).max() / scale),
    )


def peak_memory(rounds: int) -> int:
    """Peak resident set size, in KiB, of a process that plays `MEMORY` for so many rounds (POSIX)."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "long.toml")
        config.write_text(MEMORY.format(rounds=rounds), encoding="utf-8")
        code = (
            "import resource, sys; from experiments.__main__ import main;"
            "status = main(['run', sys.argv[1], '--out', sys.argv[2], '--workers', '1']);"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(status)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(config), str(Path(folder, "out"))],
            check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
    return int(done.stdout.split()[-1])


def command(rounds: int, path: Path | None) -> int:
    """`speed --long`: measures and prints memory and numerics, and writes JSON if a path is given."""
    console = Console()
    backend.configure()
    short, long = peak_memory(SHORT), peak_memory(rounds)
    console.print(
        f"peak memory: {short / 1024:,.0f} MiB after {SHORT:,} rounds, {long / 1024:,.0f} MiB after {rounds:,}: "
        f"{long / short - 1:+.1%}\n\ngreatest relative errors of float32 against float64 after {rounds:,} rounds",
        highlight=False,
    )
    problem = make_problem(ARMS, DIM, collinear=True)
    errors = {}
    for name, linear in AGENTS.items():
        found = errors[name] = numerics(linear, problem, rounds)
        console.print(
            f"{name:45} precision {found.precision:.1e}  deviation {found.deviation:.1e}  mean {found.mean:.1e}",
            highlight=False,
        )
    if path is not None:
        memory = {"short_rounds": SHORT, "short_kib": short, "rounds": rounds, "kib": long}
        write_json(path, {"peak_memory": memory, "errors": {name: e._asdict() for name, e in errors.items()}})
    return 0
