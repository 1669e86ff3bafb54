"""What the entries of a config are: kind and role follow from the registry, never from the label a user gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents import AGENTS, Agent
from agents.registry import Factory
from experiments.config import AgentConfig, ConfigError
from experiments.results import Entrant


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
