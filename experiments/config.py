"""Configs: TOML to frozen, typed structs. A config can do nothing but configure; every error names the key."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=+-]{0,63}$")]
"""Labels become file names and table cells: letters, digits and ._=+- only."""
Kind = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Positive = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Weight = Annotated[float, Meta(ge=0.0, le=1e12)]
Option = bool | int | float | str | list[int | float | str] | None


class ConfigError(ValueError):
    """A config that cannot be used; the message names file and key and says what was expected."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One named part of a comparison.

    Attributes:
        name: its label in tables and file names.
        kind: what it is (`python -m experiments list`); the name, if left out.
        options: keyword arguments of the kind.
    """

    name: Name
    kind: Kind | None = None
    options: dict[str, Option] = {}

    @property
    def what(self) -> str:
        """The kind, or the name that stands for it."""
        return self.kind or self.name


class Only(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The arms an agent may play: those whose model, method and budget are among the given ones (None: any)."""

    models: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    budgets: tuple[tuple[int, ...], ...] | None = None


class AgentConfig(Part, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An agent: `options` are its factory's hyper-parameters; `abreast` overrides how many seeds run side by side.

    `only` restricts it to some arms, in the same game: regret and oracles count all arms.
    """

    abreast: Positive | None = None
    only: Only | None = None


class WorldConfig(Part, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A world, and what the agents see: which of its contexts (None: the world's first), and of the arms.

    `arms` is "catalog", the numbers of the arm catalog, or "text", features of the arms' descriptions.
    """

    context: str | None = None
    arms: Literal["catalog", "text"] = "catalog"


class ScenarioConfig(Part, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A scenario."""


class PreferenceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A reward setting: the fields of `uis_env.Reward`."""

    name: Name
    quality: Weight = 1.0
    score: Weight = 0.0
    cost: Weight = 0.0
    tokens: Weight = 0.0
    latency: Weight = 0.0
    offset: float = 0.0
    cost_channel: Literal["dollars", "eflops"] = "dollars"
    transform: Literal["linear", "clipped", "log"] = "linear"
    ends: tuple[float, float] | None = None


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A comparison: every agent plays the same tapes in every cell (world x scenario x preference).

    Attributes:
        name: the results' folder, unless --out says otherwise.
        description: a line for `python -m experiments list`.
        rounds: T of an episode.
        seeds: S, one tape each: first_seed, first_seed + 1, ...
        block: seeds per work unit; bits of a result are promised for one block size.
        bins: points of a curve, about.
        order: "passes" over shuffled queries, or "iid".
        pilot: queries whose outcomes on all arms are given to agents that `fit` (and charged to them); they leave the
            tape of every agent.
        worlds, scenarios, preferences, agents: the parts, each name once.
    """

    name: Name
    description: str = ""
    rounds: Positive
    seeds: Positive
    first_seed: Annotated[int, Meta(ge=0, le=2**31)] = 0
    block: Annotated[int, Meta(ge=1, le=4096)] = 16
    bins: Annotated[int, Meta(ge=1, le=1000)] = 100
    order: Literal["passes", "iid"] = "passes"
    pilot: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    worlds: Annotated[tuple[WorldConfig, ...], Meta(min_length=1)]
    scenarios: Annotated[tuple[ScenarioConfig, ...], Meta(min_length=1)] = (ScenarioConfig(name="stationary"),)
    preferences: Annotated[tuple[PreferenceConfig, ...], Meta(min_length=1)]
    agents: Annotated[tuple[AgentConfig, ...], Meta(min_length=1)]

    def to_json(self) -> dict[str, Any]:
        """The config as plain JSON, defaults filled in."""
        return msgspec.json.decode(msgspec.json.encode(self))  # type: ignore[no-any-return]

    @property
    def digest(self) -> str:
        """A hash of all that decides the numbers (the description does not)."""
        plain = self.to_json()
        del plain["description"]
        return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()[:16]


_PARTS: dict[str, type[msgspec.Struct]] = {
    "worlds": WorldConfig,
    "scenarios": ScenarioConfig,
    "preferences": PreferenceConfig,
    "agents": AgentConfig,
}
_T = TypeVar("_T")


def load_config(path: Path) -> Config:
    """Reads a TOML config.

    Raises:
        ConfigError: naming the file and the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    return parse_config(data, str(path))


def parse_config(data: Mapping[str, Any], where: str) -> Config:
    """A Config from plain data; `where` opens every error message."""
    data = dict(data)
    for key, kind in _PARTS.items():
        parts = data.get(key)
        if isinstance(parts, list):
            data[key] = [_convert(part, kind, f"{where}: {key}[{i}]") for i, part in enumerate(parts)]
            names = [part.name for part in data[key]]
            for i, name in enumerate(names):
                if name in names[:i]:
                    raise ConfigError(f"{where}: {key}[{i}].name: {name!r} stands twice")
    return _convert(data, Config, where)


def _convert(data: Any, kind: type[_T], where: str) -> _T:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        key = place.rstrip("`").lstrip(".")
        joint = "" if not key else "." if where.endswith("]") else ": "
        raise ConfigError(f"{where}{joint}{key}: {message}") from None
