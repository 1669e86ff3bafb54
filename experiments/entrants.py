"""From the entries of a config to agents; kind and role follow from the registry, never from the label a user gave."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Mapping, Sequence

from agents import AGENTS, Agent, Spec
from agents.ranges import RANGES, outside
from agents.registry import Factory
from agents.wrappers import only
from experiments.config import AgentConfig, ConfigError
from experiments.results import Entrant
from uis_env.arms import ArmCatalog


def entrant(part: AgentConfig, agent: Agent, extra: Mapping[str, Factory]) -> Entrant:
    """Kind and role of an entry: a user's agent is a learner; whoever sees what no agent sees is a reference."""
    known = None if part.what in extra else AGENTS.get(part.what)
    role = known.role if known else "learner"
    return Entrant(part.what, "reference" if agent.privileged else role, own=known is None)


def check_references(parts: Sequence[AgentConfig]) -> None:
    """A reference is one policy of a cell: it plays once at most, and on all arms.

    Raises:
        ConfigError: naming the entry that is one too many, or that is kept to some arms.
    """
    seen: dict[str, str] = {}
    for i, part in enumerate(parts):
        if part.what not in AGENTS or AGENTS[part.what].role != "reference":
            continue
        where = f"agents[{i}] ({part.name!r})"
        if part.what in seen:
            raise ConfigError(
                f"{where}: {part.what!r} is a reference, which is there already as {seen[part.what]!r}; expected one"
            )
        if part.only is not None:
            raise ConfigError(f"{where}.only: {part.what!r} is a reference and counts all arms; leave `only` out")
        seen[part.what] = part.name


def predicts_quality(kind: str) -> bool:
    """Whether a kind's scores before the first round are probabilities of success."""
    return kind in AGENTS and AGENTS[kind].predicts_quality


def make_agent(part: AgentConfig, spec: Spec, catalog: ArmCatalog, where: str, extra: Mapping[str, Factory]) -> Agent:
    """Calls the factory of a config entry, and keeps the agent to the arms that the entry names.

    Raises:
        ConfigError: naming the entry, if there is no such kind, it does not take the options, or no such arm.
    """
    factory = _factory(part, where, extra)
    try:
        inspect.signature(factory).bind(spec, **part.options)
    except TypeError as error:
        raise ConfigError(f"{where}.options: {part.what} {error}") from None
    for name, value in part.options.items():
        expected = None if part.what in extra else outside(factory, name, value)
        if expected is None and isinstance(value, float) and not math.isfinite(value):
            expected = "a finite number"
        if expected:
            raise ConfigError(f"{where}.options.{name}: {value!r}, expected {expected}")
    try:
        agent = factory(spec, **part.options)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}.options: {error}") from None
    if not isinstance(agent, Agent):
        raise ConfigError(f"{where}: {part.what} returned {type(agent).__name__}, expected agents.Agent")
    if not part.pilot:
        agent = agent._replace(fit=None)
    if part.only is None:
        return agent
    try:
        arms = catalog.mask(part.only.models, part.only.methods, part.only.budgets, part.only.styles)
    except KeyError as error:
        raise ConfigError(f"{where}.only: {error.args[0]}") from None
    if not arms.any():
        raise ConfigError(f"{where}.only: no arm has such a model, method, budget and style together")
    return only(agent, arms)


def _factory(part: AgentConfig, where: str, extra: Mapping[str, Factory]) -> Factory:
    """What makes the agents of an entry's kind."""
    if part.what in extra:
        return extra[part.what]
    if part.what not in AGENTS:
        raise ConfigError(f"{where}: unknown agent {part.what!r}; expected one of {', '.join(AGENTS)}")
    return AGENTS[part.what].factory


def numbers(part: AgentConfig, extra: Mapping[str, Factory]) -> dict[str, float]:
    """The numbers of a config entry that may be traced, so that one program serves all entries that differ in them."""
    if part.what in extra or part.what not in AGENTS:
        return {}
    parameters = inspect.signature(AGENTS[part.what].factory).parameters.values()
    shared = [p for p in parameters if p.name in RANGES and RANGES[p.name].shared]
    given = {p.name: part.options.get(p.name, p.default) for p in shared}
    return {name: value for name, value in given.items() if type(value) in (int, float)}


def own_agent(text: str) -> tuple[str, Factory]:
    """`module:factory` to (label, factory); the module is looked for in the working directory, too.

    Raises:
        ConfigError: if there is no such module or factory.
    """
    module, _, attribute = text.partition(":")
    if not module or not attribute:
        raise ConfigError(f"--agent {text}: expected MODULE:FACTORY")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"--agent {text}: {error}") from None
    except SyntaxError as error:
        raise ConfigError(f"--agent {text}: {error.filename}:{error.lineno}: {error.msg}") from None
    if not callable(factory):
        raise ConfigError(f"--agent {text}: {attribute} is not callable, expected factory(spec) -> Agent")
    return f"{module}.{attribute}", factory
