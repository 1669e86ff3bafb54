"""From the entries of a config to agents; kind and role follow from the registry, never from the label a user gave."""

from __future__ import annotations

import functools
import inspect
import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents import AGENTS, Agent, Spec, check_agent
from agents.ranges import RANGES, outside
from agents.registry import Factory
from agents.wrappers import only
from experiments.config import AgentConfig, ConfigError, parse_agent
from experiments.gym_agents import replay
from experiments.gym_worker import takes_options
from experiments.results import Entrant
from experiments.store import RunError
from uis_env.arms import ArmCatalog
from uis_env.imports import describe, did_you_mean, find_function


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
    if part.gym:
        return replay(spec.horizon)
    factory = _factory(part, where, extra)
    _check_options(part, spec, where, factory)
    for name, value in part.options.items():
        expected = None if part.what in extra else outside(factory, name, value)
        if expected is None and isinstance(value, float) and not math.isfinite(value):
            expected = "a finite number"
        if expected:
            raise ConfigError(f"{where}.options.{name}: {value!r}, expected {expected}")
    try:
        agent = factory(spec, **part.options)
    except (Exception, SystemExit) as error:
        told = f"{part.what}: {describe(error)}" if part.what in extra else f"{error}"
        raise ConfigError(f"{where}.options: {told}") from error
    if not isinstance(agent, Agent):
        raise ConfigError(f"{where}: {part.what} returned {type(agent).__name__}, expected agents.Agent")
    if part.what in extra:
        agent = _guarded(agent, where)
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


def _guarded(agent: Agent, where: str) -> Agent:
    """A user's agent whose errors are one line: the entry, the function, file and line."""

    def guard(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            try:
                return function(*args)
            except Exception as error:
                raise RunError(f"{where}: {name}: {describe(error)}") from error

        return call

    named = {name: getattr(agent, name) for name in ("init", "act", "update", "fit")}
    guarded: dict[str, Any] = {name: guard(name, function) for name, function in named.items() if function is not None}
    return agent._replace(**guarded)


def _check_options(part: AgentConfig, spec: Spec, where: str, factory: Factory) -> None:
    """ConfigError if a factory does not take the options of an entry."""
    signature = inspect.signature(factory)
    try:
        signature.bind(spec, **part.options)
    except TypeError as error:
        known = list(signature.parameters)[1:]
        unknown = [name for name in part.options if name not in known]
        if not unknown:
            raise ConfigError(f"{where}.options: {part.what}: {error}") from None
        some = f"it takes {', '.join(known)}" if known else "it takes none"
        raise ConfigError(
            f"{where}.options: {part.what} has no option {unknown[0]!r}{did_you_mean(unknown[0], known)}; {some}"
        ) from None


def _factory(part: AgentConfig, where: str, extra: Mapping[str, Factory]) -> Factory:
    """What makes the agents of an entry's kind."""
    if part.what in extra:
        return extra[part.what]
    if part.what not in AGENTS:
        near = did_you_mean(part.what, AGENTS)
        raise ConfigError(f"{where}: unknown agent {part.what!r}{near}; expected one of {', '.join(AGENTS)}")
    return AGENTS[part.what].factory


def numbers(part: AgentConfig, extra: Mapping[str, Factory]) -> dict[str, float]:
    """The numbers of a config entry that may be traced, so that one program serves all entries that differ in them."""
    if part.what in extra or part.what not in AGENTS:
        return {}
    parameters = inspect.signature(AGENTS[part.what].factory).parameters.values()
    shared = [p for p in parameters if p.name in RANGES and RANGES[p.name].shared]
    given = {p.name: part.options.get(p.name, p.default) for p in shared}
    return {name: value for name, value in given.items() if type(value) in (int, float)}


def own_factories(parts: Sequence[AgentConfig], folders: Sequence[str]) -> dict[str, Factory]:
    """Kind -> factory of the agents that are a user's code; the makers of gym agents are looked up, too.

    Raises:
        ConfigError: naming the entry, and file and line of an error in its module.
    """
    found: dict[str, Factory] = {}
    for i, part in enumerate(parts):
        if part.code is None:
            continue
        where = f"agents[{i}] ({part.name!r})"
        try:
            function = find_function(part.code, folders[::-1])
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
        if part.gym and (why := takes_options(function, part.options)):
            raise ConfigError(f"{where}.options: {part.gym}: {why}")
        found[part.code] = function
    return found


def stand_ins(parts: Sequence[AgentConfig]) -> dict[str, Factory]:
    """In the place of users' agents where nothing is played, so that no code of theirs is imported."""
    return {part.code: lambda spec, **options: AGENTS["random"](spec) for part in parts if part.code is not None}


def check_own(parts: Sequence[AgentConfig], factories: Mapping[str, Factory]) -> None:
    """Whether the agents of users keep the contract (`agents.check_agent`).

    Raises:
        ConfigError: naming the entry, the function, and file and line of an error in it.
    """
    for i, part in enumerate(parts):
        if part.gym is None and part.code in factories:
            try:
                check_agent(functools.partial(factories[part.what], **part.options), rounds=3)
            except ValueError as error:
                raise ConfigError(f"agents[{i}] ({part.name!r}): {part.code}: {error}") from error


def parse_entry(text: str, option: str) -> dict[str, Any]:
    """The entry of `--agent [NAME=]KIND[,OPTION=VALUE...]`, or of `--gym-agent`; values are written as in TOML.

    >>> parse_entry("wide=my_agent:make,width=0.3,hidden=[8, 8]", "--agent")
    {'name': 'wide', 'kind': 'my_agent:make', 'options': {'width': 0.3, 'hidden': [8, 8]}}
    >>> parse_entry("my_agent:make", "--gym-agent")
    {'gym': 'my_agent:make', 'options': {}}

    Raises:
        ConfigError: if the text is none of this.
    """
    head, *pairs = re.split(r",(?=\s*\w+\s*=)", text)
    name, separator, kind = head.rpartition("=")
    options: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        try:
            options[key.strip()] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            options[key.strip()] = value  # a word, which TOML would want in quotation marks
    if not kind or (separator and not name):
        raise ConfigError(f"{option} {text}: expected [NAME=]MODULE:FACTORY[,OPTION=VALUE...]")
    key = "gym" if option == "--gym-agent" else "kind"
    return {**({"name": name} if name else {}), key: kind, "options": options}


def parse_entries(texts: Sequence[str]) -> list[AgentConfig]:
    """The entries of several `--agent`."""
    return [parse_agent(parse_entry(text, "--agent"), f"--agent {text}") for text in texts]
