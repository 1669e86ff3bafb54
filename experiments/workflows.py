"""`python -m experiments workflow`: does a policy that sees what is left of a task earn more? On the same tasks.

- *plan*: dynamic programming; it knows the expected outcomes of the test queries and sees what is left: the oracle.
- *learned*: a network that sees context and what is left, trained on other queries.
- step-blind: *learned, blind* (the same network, kept from what is left) and bandits, trained on other queries too; and
  the best *prices*, the best *arm*, *uniform split* and *greedy*, which know the outcomes of the test queries, so on
  worlds whose context tells little they may be ahead of everything that is learned.

All instances are *simulated*; in some of them looking at what is left pays by construction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from agents.registry import Factory
from agents.spec import make_spec
from agents.workflow_bandit import blind_policy, learn_blind
from agents.workflow_policy import Settings, greedy_policy, train
from experiments import backend
from experiments.components import two_way_estimate, two_way_ratio
from experiments.config import AgentConfig, ConfigError
from experiments.entrants import check_own, make_agent, own_factories
from uis_env.bandit import Reward
from uis_env.files import atomic_write
from uis_env.workflow import Policy, Workflow, play
from uis_env.workflow.instances import uncertain_speeds
from uis_env.workflow.plan import plan
from uis_env.workflow.policies import best_arm, greedy, step_blind, uniform_split
from uis_env.world import World
from uis_env.worlds import load

Array = NDArray[Any]
TUNING_SEEDS = range(1000)
"""Tasks on which blind policies choose their arm or prices; other tasks than those that are reported."""
FIRST_TEST_SEED = 20_000
BANDITS = ("linucb", "hierarchical_logit_thompson")
PLAN, LEARNED = "plan", "learned"


class Instance(NamedTuple):
    """A workflow on test queries and its twin on training queries.

    Attributes:
        name: shown in tables.
        test, training: the workflows.
        units: grid cells of the plan, seconds and tokens.
        by_construction: whether adaptivity pays by construction and the plan is exact; elsewhere the plan is the
            pessimistic one, which can be beaten.
    """

    name: str
    test: Workflow
    training: Workflow
    units: tuple[int, int]
    by_construction: bool


class Effort(NamedTuple):
    """How much is trained and played: test tasks, training runs, the network's settings, a bandit's training tasks."""

    tasks: int = 6000
    keys: int = 3
    settings: Settings = Settings()
    bandit_tasks: int = 20_000


class Row(NamedTuple):
    """A policy on an instance. Intervals are 95 % half-widths over tasks, paired where two policies are compared.

    Attributes:
        policy: its name.
        value, value_error: mean return of a task (mean over training runs).
        success: share of tasks that succeeded.
        share, share_error: of the plan's return.
        lead, lead_error: of the learned policy over this one.
        keys: mean return of each training run; one number for policies that are not trained.
    """

    policy: str
    value: float
    value_error: float
    success: float
    share: float
    share_error: float
    lead: float
    lead_error: float
    keys: list[float]


def command(
    out: Path,
    tasks: int = 6000,
    keys: int = 3,
    effort: Effort | None = None,
    some: Iterable[Instance] | None = None,
    agents: Sequence[AgentConfig] = (),
) -> int:
    """Compares on every instance; prints a table each and writes `workflows.md` and `workflows.json` to `out`.

    Args:
        out: folder.
        tasks: test tasks per instance.
        keys: training runs per instance.
        effort: instead of both.
        some: instances (None: all of `instances`).
        agents: further bandits, which see nothing of what is left of a task.

    Raises:
        ConfigError: if there are fewer than 2 tasks or 1 key.
    """
    backend.configure()
    effort = effort or Effort(tasks, keys)
    if effort.tasks < 2 or effort.keys < 1:
        raise ConfigError(f"--tasks {effort.tasks} --keys {effort.keys}: expected 2 tasks and 1 key, or more")
    factories = own_factories(agents, ())
    check_own(agents, factories)
    bandits = (*(AgentConfig(name=name) for name in BANDITS), *agents)
    console = Console()
    found, pages = {}, []
    for instance in instances() if some is None else some:
        rows = compare(instance, effort, bandits, factories)
        page = markdown(instance, rows)
        console.print(page, highlight=False, markup=False, soft_wrap=True)
        pages.append(page)
        found[instance.name] = {
            "simulated": instance.test.world.simulated,
            "by_construction": instance.by_construction,
            "rows": [row._asdict() for row in rows],
        }
    text = json.dumps({"effort": effort._asdict(), "instances": found}, indent=1)
    atomic_write(out / "workflows.json", (text + "\n").encode())
    atomic_write(out / "workflows.md", "\n".join(pages).encode())
    return 0


def instances() -> Iterator[Instance]:
    """Three in which adaptivity pays by construction, and one on the latency-aware world."""
    world = uncertain_speeds(queries=160)
    for steps, deadline, quorum in ((6, 24, None), (8, 30, None), (5, 16, 4)):
        options = {"steps": steps, "deadline": float(deadline), "quorum": quorum, "token_budget": None}
        test, training = _split(world, range(80, 160), range(80), reward=Reward(latency=0.002), **options)
        name = f"uncertain speeds, {quorum or steps} of {steps} steps in {deadline} s"
        yield Instance(name, test, training, (deadline, 1), True)
    world = load("LatencyAware", dataset="math500")
    test, training = _split(world, range(400, 500), range(400), steps=4, quorum=3, deadline=60.0, token_budget=30_000.0)
    yield Instance("latency-aware, 3 of 4 steps in 60 s and 30,000 tokens", test, training, (30, 30), False)


def _split(world: World, test: range, training: range, **options: Any) -> tuple[Workflow, Workflow]:
    return Workflow(world, queries=test, **options), Workflow(world, queries=training, **options)


def compare(
    instance: Instance, effort: Effort, bandits: Sequence[AgentConfig], factories: Mapping[str, Factory]
) -> list[Row]:
    """Plays every policy on the same tasks, those that are trained once per training key."""
    flow, training = instance.test, instance.training
    tuning = flow.tasks(TUNING_SEEDS)
    keys = [jax.random.key(number) for number in range(effort.keys)]

    def network(key: jax.Array, blind: bool) -> Policy:
        settings = effort.settings._replace(blind=blind)
        return greedy_policy(flow, train(training, key, settings), settings)

    spec = make_spec(flow.world, flow.reward, effort.bandit_tasks * flow.steps, flow.context)

    made = []
    for i, part in enumerate(bandits):
        made.append(make_agent(part, spec, flow.world.catalog, f"agents[{i}] ({part.name!r})", factories))
        if made[-1].privileged:
            raise ConfigError(f"agents[{i}] ({part.name!r}): {part.what!r} sees what no bandit sees, expected another")

    def bandit(key: jax.Array, number: int) -> Policy:
        agent = made[number]
        learned = learn_blind(training, agent, key, effort.bandit_tasks)
        return blind_policy(flow, agent, learned, jax.random.fold_in(key, 1))

    policies: dict[str, list[Policy]] = {
        PLAN: [plan(flow, *instance.units)],
        LEARNED: [network(key, blind=False) for key in keys],
        "learned, blind": [network(key, blind=True) for key in keys],
        **{f"{part.name}, blind": [bandit(key, i) for key in keys] for i, part in enumerate(bandits)},
        "prices, blind": [step_blind(flow, tuning)],
        "best arm": [best_arm(flow, tuning)],
        "uniform split": [uniform_split(flow)],
        "greedy": [greedy(flow)],
    }
    asked = flow.tasks(range(FIRST_TEST_SEED, FIRST_TEST_SEED + effort.tasks))
    played = {name: [play(flow, policy, asked) for policy in some] for name, some in policies.items()}
    return rows_of(
        {name: np.stack([value for value, _ in runs]) for name, runs in played.items()},
        {name: float(np.mean([success for _, success in runs])) for name, runs in played.items()},
    )


def rows_of(returns: dict[str, Array], success: dict[str, float]) -> list[Row]:
    """The table of (training runs, tasks) returns by policy, among them `PLAN` and `LEARNED`."""
    means = {name: runs.mean(axis=0) for name, runs in returns.items()}
    best, learned = means[PLAN], means[LEARNED]
    rows = []
    for name, value in means.items():
        reached, share, lead = (
            two_way_estimate([value]),
            two_way_ratio([value], [best]),
            two_way_estimate([learned - value]),
        )
        rows.append(
            Row(
                name,
                reached.value,
                reached.half,
                success[name],
                share.value,
                share.half,
                lead.value,
                lead.half,
                returns[name].mean(axis=1).tolist(),
            )
        )
    return rows


def markdown(instance: Instance, rows: Sequence[Row]) -> str:
    """The table of an instance, and what it says of the learned policy."""
    plan_name = "the exact plan" if instance.by_construction else "the plan on a coarse grid"
    lines = [
        f"### {instance.name} ({'simulated' if instance.test.world.simulated else 'recorded'}"
        f"{'; adaptivity pays by construction' if instance.by_construction else ''})",
        "",
        f"| policy | return | success | share of {plan_name} | lead of learned |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        spread = f" ({min(row.keys):.3f} to {max(row.keys):.3f})" if len(row.keys) > 1 else ""
        lead = "" if row.policy == LEARNED else f"{row.lead:+.3f} ± {row.lead_error:.3f}"
        lines.append(
            f"| {row.policy} | {row.value:.3f} ± {row.value_error:.3f}{spread} | {row.success:.1%} "
            f"| {row.share:.1%} ± {row.share_error:.1%} | {lead} |"
        )
    [learned] = [row for row in rows if row.policy == LEARNED]
    close = [row.policy for row in rows if row.policy not in (PLAN, LEARNED) and row.lead <= row.lead_error]
    found = f"not above {'; '.join(close)}" if close else "above every step-blind policy"
    lines += ["", f"learned: {learned.share:.1%} ± {learned.share_error:.1%} of {plan_name}; {found}", ""]
    return "\n".join(lines)
