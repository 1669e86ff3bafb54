"""`python -m experiments live CONFIG`: one agent learns on real endpoints, decision by decision.

The run directory holds `manifest.json`, `calls.jsonl` (every HTTP call) and `decisions.jsonl` (a row per round). The
agent's state is a function of the decisions: a run that was stopped or killed replays its updates and goes on.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from msgspec import Meta
from rich.console import Console
from rich.live import Live
from rich.table import Table

from agents.agent import Agent, Observation, State
from agents.columns import constants, warn_of_columns
from agents.handed import make_feedback, make_observation
from agents.rollout import agent_keys
from agents.spec import Spec, spec_of
from experiments import backend
from experiments.config import AgentConfig, ConfigError, Positive, convert, parse_agent
from experiments.entrants import check_own, make_agent, own_factories
from uis_env.arms import ArmCatalog
from uis_env.files import atomic_write
from uis_env.live.config import LiveConfig, load_config
from uis_env.live.env import LiveEnv
from uis_env.live.estimate import list_costs
from uis_env.live.journal import Appender, CallJournal, read_rows
from uis_env.live.transport import Transport
from uis_env.lock import DirectoryLock
from uis_env.world import Channels

Factory = Callable[..., Agent]
OVER = "the dollar limit is reached: raise --max-dollars and run the same command again"


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[experiment]` of a live config: rounds, the seed of tape and agent, and the agent."""

    rounds: Positive
    seed: Annotated[int, Meta(ge=0, le=2**31)] = 0
    agent: AgentConfig


def parse_experiment(config: LiveConfig) -> Experiment:
    """Reads `[experiment]`.

    Raises:
        ConfigError: naming the key that is unknown, missing or not as expected.
    """
    data = dict(config.experiment)
    where = f"{config.path}.experiment"
    if isinstance(data.get("agent"), Mapping):
        data["agent"] = msgspec.to_builtins(parse_agent(data["agent"], f"{where}.agent"))
    return convert(data, Experiment, where)


def make_spec(env: LiveEnv, rounds: int) -> Spec:
    """What an agent may know in advance: sizes, arm features, list costs, and the models' sizes as a prior."""
    channel = env.reward.cost_channel
    cost = np.array(list_costs(env.config, channel) if channel in env.channels else [0.0] * len(env.catalog))
    if env.config.context != "hashed":  # few queries leave buckets of hashed words empty
        warn_of_columns(env.contexts, "context of the live queries")
    return spec_of(
        env.catalog,
        env.reward,
        rounds,
        context=env.contexts.shape[1],
        constants=constants(env.contexts),
        channels=env.channels,
        list_cost=cost,
    )


def make_live_agent(
    part: AgentConfig, spec: Spec, catalog: ArmCatalog, where: str, extra: Mapping[str, Factory]
) -> Agent:
    """The agent of the config.

    Raises:
        ConfigError: as `make_agent` does, or if the entry asks for what no live run has.
    """
    for key, usual in (("pilot", True), ("rehearsal", 0), ("seeds_per_call", None), ("gym", None)):
        if getattr(part, key) != usual:
            raise ConfigError(f"{where}.{key}: {getattr(part, key)!r}, but a live run has none; leave it out")
    agent = make_agent(part, spec, catalog, where, extra)
    if agent.privileged:
        raise ConfigError(f"{where}: {part.what!r} sees the outcomes of all arms, which no live run can tell")
    return agent


class LiveRun:
    """An agent, its environment and its log.

    Args:
        config: with arms and an `[experiment]`.
        root: the run directory; an existing run of the same config is resumed.
        max_dollars: never passed, earlier parts of the run included.
        extra: factories of agents that are not in the registry.
        accept_journal: goes on where `calls.jsonl` was damaged or lost; see `CallJournal`.
        transport: None connects through the `openai` SDK.

    Attributes:
        rows: the decisions so far.
        state: the agent's, after them.

    Raises:
        ConfigError: if the config does not fit, or the directory holds a run of another one.
    """

    def __init__(
        self,
        config: LiveConfig,
        root: Path,
        *,
        max_dollars: float = math.inf,
        extra: Mapping[str, Factory] | None = None,
        accept_journal: bool = False,
        transport: Transport | None = None,
    ) -> None:
        self.experiment = parse_experiment(config)
        with ExitStack() as stack:
            try:
                stack.enter_context(DirectoryLock(root))
                _claim(root, config, self.experiment)
                self._log = Appender(root / "decisions.jsonl")
                stack.callback(self._log.close)
                rows = read_rows(root / "decisions.jsonl")
                journal = CallJournal(root / "calls.jsonl", rows, accept_journal)
                self.env = LiveEnv(
                    config,
                    horizon=self.experiment.rounds,
                    max_dollars=max_dollars,
                    journal=journal,
                    transport=transport,
                )
            except ValueError as error:
                raise ConfigError(str(error)) from None
            stack.callback(self.env.close)
            own = own_factories([self.experiment.agent], (str(Path.cwd()), str(Path(config.path).resolve().parent)))
            self._start(rows, own | dict(extra or {}))
            self._open = stack.pop_all()

    def _start(self, rows: list[dict[str, Any]], extra: Mapping[str, Factory]) -> None:
        """Makes the agent and brings it to where the log ends."""
        env, part = self.env, self.experiment.agent
        spec = make_spec(env, self.experiment.rounds)
        agent = make_live_agent(part, spec, env.catalog, f"{env.config.path}.experiment.agent", extra)
        self._act, self._update = jax.jit(agent.act), jax.jit(agent.update)
        self._keys = agent_keys(self.experiment.seed, part.name)
        self._preference = jnp.asarray(env.reward.preference, jnp.float32)
        self._prices = jnp.ones(len(env.catalog.models), jnp.float32)
        self.rows: list[dict[str, Any]] = []
        self.state: State = agent.init(self._keys.init)
        for number, row in enumerate(rows):
            if row.get("round") != number:
                raise ConfigError(f"decisions.jsonl:{number + 1}: expected round {number}")
            self._learn(row)

    def play(self, watch: Callable[[LiveRun], None] = lambda run: None) -> str | None:
        """Plays the rounds that are left; `watch` is called after each.

        Returns:
            None when all rounds are played, else why it stopped: the dollar limit, or an endpoint that does not serve.
            The round that it stopped is not logged: it is played again later.
        """
        rounds = range(len(self.rows), self.experiment.rounds)
        if rounds:
            _, info = self.env.reset(seed=self.experiment.seed, options={"round": rounds.start})
        for number in rounds:
            query = info["query"]
            choice = self._act(jax.random.fold_in(self._keys.act, number), self.state, self._observation(number, query))
            action = int(choice.action)
            propensity = float(choice.propensities[action])
            _, reward, _, truncated, info = self.env.step(action)
            if truncated:
                return OVER if self.env.client.budget.exhausted else str(info["error"])
            row = {
                "round": number,
                "query": query,
                "query_id": self.env.config.queries[query].query_id,
                "action": action,
                "arm": info["arm"],
                "propensity": None if math.isnan(propensity) else propensity,
                "policy": self.experiment.agent.name,
                "preference": list(self.env.reward.preference),
                "reward": float(np.float32(reward)),
                **{name: float(np.float32(info[name])) for name in self.env.channels},
                **{name: info[name] for name in ("answer", "failed", "error", "note", "unknown")},
                "call": self.env.outcome.ledger.calls[-1].id if self.env.outcome else "",
                "spent": self.env.client.budget.spent,
            }
            self._log.write(row)
            self._learn(row)
            watch(self)
        return None

    def close(self) -> None:
        """Closes connections and files, and lets go of the directory."""
        self._open.close()

    def _observation(self, number: int, query: int) -> Observation:
        mask = jnp.ones(len(self.env.catalog), bool)
        context = jnp.asarray(self.env.contexts[query])
        return make_observation(number, context, mask, self._preference, self._prices)

    def _learn(self, row: dict[str, Any]) -> None:
        """Updates the agent with a row of the log, the same whether it was just written or is read back."""
        seen = self._observation(row["round"], row["query"])
        channels: dict[str, Any] = {name: jnp.float32(row[name]) for name in self.env.channels}
        cost = channels.get(self.env.reward.cost_channel, jnp.float32(0))
        reward = jnp.float32(row["reward"])
        feedback = make_feedback(seen, row["action"], reward, cost, Channels(**channels), number=len(self.rows))
        self.state = self._update(jax.random.fold_in(self._keys.update, row["round"]), self.state, feedback)
        self.rows.append(row)


def summary(run: LiveRun) -> Table:
    """The running table: what each arm was played, and what it returned and cost per query."""
    title = f"{run.experiment.agent.name}: round {len(run.rows)} of {run.experiment.rounds}"
    models = {arm.model for arm in run.env.catalog.arms}
    if len(models) == 1:
        title += f", {min(models)}"  # said once: it would push the rest off a narrow terminal
    table = Table(title=title, box=None, pad_edge=False)
    table.add_column("arm", overflow="fold")
    for name in ("rounds", "share", "quality", "reward", "USD", "seconds", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in run.rows:
        groups.setdefault(row["arm"].partition("/")[2] if len(models) == 1 else row["arm"], []).append(row)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    for name, rows in [*ordered, ("all", run.rows)]:
        mean = {k: sum(r.get(k, math.nan) for r in rows) / max(1, len(rows)) for k in (*Channels._fields, "reward")}
        table.add_row(
            *(name, str(len(rows)), f"{len(rows) / max(1, len(run.rows)):.0%}", f"{mean['quality']:.3f}"),
            *(f"{mean['reward']:.3f}", f"{mean['dollars']:.2e}", f"{mean['latency']:.2f}"),
            str(sum(row["failed"] for row in rows)),
        )
    return table


def command(path: Path, out: Path | None, max_dollars: float, accept_journal: bool = False) -> int:
    """Plays a live config with the running table on the terminal; returns the exit status.

    Raises:
        ConfigError: if the config cannot be used, or a package or a key that it needs is missing.
    """
    backend.configure()
    console = Console()
    try:
        root = out or Path("results", f"live-{path.stem}")
        refuse_comparison(path)
        config = load_config(path)
        part = parse_experiment(config).agent
        check_own([part], own_factories([part], (str(Path.cwd()), str(path.resolve().parent))))
        run = LiveRun(config, root, max_dollars=max_dollars, accept_journal=accept_journal)
    except (ValueError, OSError, ImportError) as error:
        raise ConfigError(f"{error}" if str(path) in str(error) else f"{path}: {error}") from error
    if run.rows:
        console.print(f"going on after round {len(run.rows)}", highlight=False)
    try:
        if console.is_terminal:
            with Live(summary(run), console=console, auto_refresh=False) as live:
                stopped = run.play(lambda now: live.update(summary(now), refresh=True))
        else:
            stopped = run.play()
            console.print(summary(run))
    except KeyboardInterrupt:
        console.print(f"\nstopped after round {len(run.rows)}; run the same command again to go on from here.")
        return 130
    finally:
        run.close()
    console.print(
        f"${run.env.client.budget.spent:.6f} spent; every decision is in {root / 'decisions.jsonl'}", highlight=False
    )
    for line in [*([stopped] if stopped else []), *run.env.client.remarks()]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 1 if stopped or run.env.client.overruns else 0


def refuse_comparison(path: Path) -> None:
    """ConfigError if a file holds a comparison, which has agents and worlds in lists."""
    try:
        keys = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # the reader of live configs says what is wrong
    if "worlds" in keys and "agents" in keys:
        raise ConfigError(f"{path}: this is a comparison; use `python -m experiments run {path}`")


def _claim(root: Path, config: LiveConfig, experiment: Experiment) -> None:
    path = root / "manifest.json"
    facts = {"digest": config.digest, "experiment": msgspec.to_builtins(experiment)}
    if path.exists():
        if json.loads(path.read_text(encoding="utf-8")) != facts:
            raise ConfigError(f"{root} holds a run of another config; choose another --out, or remove the folder")
        return
    atomic_write(path, (json.dumps(facts, indent=1) + "\n").encode())
