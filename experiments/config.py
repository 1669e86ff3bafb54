"""Configs: TOML to frozen, typed structs. A config can do nothing but configure; every error names the key."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta

from uis_env.bandit import Reward
from uis_env.imports import PATTERN, did_you_mean, is_code

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._=+-]{0,63}$")]
"""Labels become file names and table cells: letters, digits and ._=+- only."""
Kind = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Code = Annotated[str, Meta(pattern=PATTERN.pattern.join("^$"))]
"""Code of a user: `module:function`."""
AgentKind = Annotated[str, Meta(pattern=rf"^([A-Za-z0-9][A-Za-z0-9_-]{{0,63}}|{PATTERN.pattern})$")]
WORDS = {
    get_args(Name)[1].pattern: "1 to 64 letters, digits and ._=+-, a letter or digit first",
    get_args(Kind)[1].pattern: "a kind that `python -m experiments list` shows",
    get_args(Code)[1].pattern: "module:function",
    get_args(AgentKind)[1].pattern: "a kind that `python -m experiments list` shows, or module:factory",
}
"""What the patterns above ask for, in words."""
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
    """The arms an agent may play: those whose model, method, budget and style are among the given ones (None: any)."""

    models: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    budgets: tuple[tuple[int, ...], ...] | None = None
    styles: tuple[str, ...] | None = None


class AgentConfig(Part, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An agent: `options` are its factory's hyper-parameters, `seeds_per_call` overrides how many seeds a call maps.

    `only` restricts it to some arms, in the same game: regret and oracles count all arms. `pilot = false` keeps the
    pilot from it. In a sweep, `rehearsal` rounds on the pilot's queries, each with a preference of its own, come before
    the others, in which it then learns no more: one agent for every preference.

    `kind` is a name of the registry or a user's `module:factory`. Instead of it, `gym` names a `module:make`, where
    `make(env, **options)` returns an agent of any library that plays the Gymnasium environment (docs/your_agent.md).
    The module is looked for in the working directory, then beside the config. Without a `name` the label is the kind,
    with a dot for the colon.
    """

    seeds_per_call: Positive | None = None
    only: Only | None = None
    pilot: bool = True
    rehearsal: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    kind: AgentKind | None = None
    gym: Code | None = None

    def __post_init__(self) -> None:
        if self.gym is None:
            return
        for key, usual in (("kind", None), ("only", None), ("pilot", True), ("rehearsal", 0), ("seeds_per_call", None)):
            if getattr(self, key) != usual:
                raise ValueError(f"{key} does not go together with gym, leave it out")

    @property
    def what(self) -> str:
        """The kind, or the code, or the name that stands for the kind."""
        return self.gym or self.kind or self.name

    @property
    def code(self) -> str | None:
        """`module:function` of the user's code that it needs; None if it is of the registry."""
        return self.what if is_code(self.what) else None


class WorldConfig(Part, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A world, and what the agents see: which of its contexts (None: the world's first), and of the arms.

    `kind` is a shipped name, a folder (relative to the config, then to the working directory), or `module:function`;
    see `uis_env.worlds.load`. `arms` is "catalog", the numbers of the arm catalog, or "text", features of the arms'
    descriptions.
    """

    kind: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
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

    @property
    def reward(self) -> Reward:
        """What it sets; ValueError if its fields do not go together."""
        return Reward(**{name: getattr(self, name) for name in self.__struct_fields__ if name != "name"})


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`points` weights from `low` to `high`, evenly spaced in their logarithm."""

    low: Annotated[float, Meta(gt=0.0, le=1e12)]
    high: Annotated[float, Meta(gt=0.0, le=1e12)]
    points: Annotated[int, Meta(ge=2, le=10_000)]

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}, expected low < high")


Weights = Weight | tuple[Weight, ...] | Grid


class SweepConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Preferences that are played together: all combinations of the weights, each one number, a list or a grid."""

    quality: Weights = 1.0
    score: Weights = 0.0
    cost: Weights = 0.0
    tokens: Weights = 0.0
    latency: Weights = 0.0
    cost_channel: Literal["dollars", "eflops"] = "dollars"

    def __post_init__(self) -> None:
        for name in WEIGHTS:
            value = getattr(self, name)
            if isinstance(value, tuple) and not value:
                raise ValueError(f"{name} is an empty list, expected one weight or more")

    def preferences(self) -> tuple[PreferenceConfig, ...]:
        """All combinations, the last weight fastest, named by their weights: "tokens=1e-07+latency=0.001"."""
        found = []
        for weights in itertools.product(*(_values(getattr(self, name)) for name in WEIGHTS)):
            usual = {"quality": 1.0, "score": 0.0, "cost": 0.0}
            told = {n: w for n, w in zip(WEIGHTS, weights, strict=True) if w != usual.get(n)}
            label = "+".join(f"{name}={weight:.4g}" for name, weight in told.items())
            settings: dict[str, Any] = dict(zip(WEIGHTS, weights, strict=True))
            found.append(PreferenceConfig(name=label, cost_channel=self.cost_channel, **settings))
        return tuple(found)


WEIGHTS = ("quality", "score", "cost", "tokens", "latency")
"""The weights that a sweep varies."""


def _values(weights: float | tuple[float, ...] | Grid) -> tuple[float, ...]:
    if isinstance(weights, Grid):
        low, high = math.log10(weights.low), math.log10(weights.high)
        steps = (low + (high - low) * i / (weights.points - 1) for i in range(weights.points))
        return tuple(float(f"{10**step:.12g}") for step in steps)  # the powers of ten among them are exact
    return weights if isinstance(weights, tuple) else (weights,)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A comparison: every agent plays the same tapes in every cell (world x scenario x preference).

    Attributes:
        name: the results' folder, unless --out says otherwise.
        description: a line for `python -m experiments list`.
        rounds: T of an episode, before its hold-out.
        holdout: rounds that follow and ask test queries only, while the others ask train queries only; true: as many
            as the world has test queries (`uis_env.in_test_split`). 0: none, and all queries are asked.
        seeds: S, one tape each: first_seed, first_seed + 1, ...
        block: seeds per work unit; bits of a result are promised for one block size.
        bins: points of a curve, about.
        order: "passes" over shuffled queries, or "iid".
        pilot: queries whose outcomes on all arms are given to agents that `fit` (and charged to them); they leave the
            tape of every agent.
        worlds, scenarios, preferences, agents: the parts, each name once.
        sweeps: instead of scenarios and preferences: all their preferences are played as one program (per world and
            agent), each on the same questions, those that the pilot leaves; the pilot is the same for all seeds.
        folders: not a key of the file: where worlds are looked for, the config's folder and then the one it was started
            in; of no influence on the digest.
    """

    name: Name
    description: str = ""
    rounds: Positive
    holdout: bool | Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    seeds: Positive
    first_seed: Annotated[int, Meta(ge=0, le=2**31)] = 0
    block: Annotated[int, Meta(ge=1, le=4096)] = 16
    bins: Annotated[int, Meta(ge=1, le=1000)] = 100
    order: Literal["passes", "iid"] = "passes"
    pilot: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    worlds: Annotated[tuple[WorldConfig, ...], Meta(min_length=1)]
    scenarios: Annotated[tuple[ScenarioConfig, ...], Meta(min_length=1)] = (ScenarioConfig(name="stationary"),)
    preferences: tuple[PreferenceConfig, ...] = ()
    sweeps: tuple[SweepConfig, ...] = ()
    agents: Annotated[tuple[AgentConfig, ...], Meta(min_length=1)]
    folders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.preferences) == bool(self.sweeps):
            raise ValueError("expected either preferences or sweeps")
        if len({sweep.cost_channel for sweep in self.sweeps}) > 1:
            raise ValueError("the sweeps price cost in different channels, expected the same one")
        if self.sweeps and self.order != "passes":
            raise ValueError(f"order is {self.order!r}, expected 'passes' in a config with sweeps")
        if self.sweeps and self.holdout:
            raise ValueError("a config with sweeps has no holdout")
        for i, agent in enumerate(self.agents):
            if agent.gym and self.sweeps:
                raise ValueError(f"agents[{i}].gym: expected only in a config without sweeps")
        if self.sweeps and self.scenarios != (ScenarioConfig(name="stationary"),):
            raise ValueError("a config with sweeps has no scenarios")
        for i, agent in enumerate(self.agents):
            if agent.rehearsal and not (self.sweeps and self.pilot):
                raise ValueError(f"agents[{i}].rehearsal: expected only in a config with sweeps and a pilot")

    @property
    def swept(self) -> tuple[PreferenceConfig, ...]:
        """The preferences of all sweeps, in order, each once."""
        found = {preference: None for sweep in self.sweeps for preference in sweep.preferences()}
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """The config as plain JSON, defaults filled in, without the places of this machine."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        del plain["folders"]
        return plain

    @property
    def digest(self) -> str:
        """A hash of all that decides the numbers (the description does not)."""
        plain = self.to_json()
        del plain["description"]
        return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()[:16]


_PARTS: dict[str, Any] = {
    "worlds": WorldConfig,
    "scenarios": ScenarioConfig,
    "preferences": PreferenceConfig,
    "sweeps": SweepConfig,
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
    if "endpoints" in data or "experiment" in data:
        raise ConfigError(f"{path}: this is a live config; use `python -m experiments live {path}`")
    if "folders" in data:
        raise ConfigError(f"{path}: unknown key 'folders'")
    return parse_config({**data, "folders": [str(path.resolve().parent), str(Path.cwd())]}, str(path))


def parse_config(data: Mapping[str, Any], where: str) -> Config:
    """A Config from plain data; `where` opens every error message."""
    data = dict(data)
    for key, kind in _PARTS.items():
        parts = data.get(key)
        if isinstance(parts, list):
            parts = [_named(part) for part in parts] if kind is AgentConfig else parts
            data[key] = [convert(part, kind, f"{where}: {key}[{i}]") for i, part in enumerate(parts)]
            names = [part.name for part in data[key] if not isinstance(part, SweepConfig)]
            for i, name in enumerate(names):
                if name in names[:i]:
                    raise ConfigError(f"{where}: {key}[{i}].name: {name!r} appears twice")
    return convert(data, Config, where)


def parse_agent(data: Mapping[str, Any], where: str) -> AgentConfig:
    """An agent's entry from plain data; `where` opens every error message."""
    return convert(_named(data), AgentConfig, where)


def _named(part: Any) -> Any:
    """An agent's entry with the label that it has without a name."""
    if not isinstance(part, dict) or "name" in part:
        return part
    kind = part.get("gym", part.get("kind"))
    return {**part, "name": kind.replace(":", ".")[:64]} if isinstance(kind, str) else part


def convert(data: Any, kind: type[_T], where: str) -> _T:
    """Plain data as a struct; ConfigError, opened by `where`, names the key and says what was expected."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        key = place.rstrip("`").lstrip(".")
        if message.startswith("Invalid enum value") and key in kind.__annotations__:
            known = get_args(get_type_hints(kind)[key])
            message = f"{message}, expected one of {', '.join(map(repr, known))}"
        message = _in_words(message, kind)
        if message.startswith("expected") and isinstance(data, Mapping) and key in data:
            message = f"{data[key]!r}, {message}"
        joint = "" if not key else "." if where.endswith("]") else ": "
        raise ConfigError(f"{where}{joint}{key}: {message}") from None


def _in_words(message: str, kind: type[Any]) -> str:
    """A message of msgspec as people say it: what was expected, and the nearest of the keys that exist."""
    if found := re.search(r"matching regex '(.*)'", message):
        return f"expected {WORDS.get(found[1].encode().decode('unicode_escape'), message)}"
    if found := re.fullmatch(r"Object contains unknown field `(.*)`", message):
        keys = [field.name for field in msgspec.structs.fields(kind) if field.name != "folders"]
        return f"unknown key {found[1]!r}{did_you_mean(found[1], keys)}; expected some of {', '.join(keys)}"
    if found := re.fullmatch(r"Object missing required field `(.*)`", message):
        return f"{found[1]}: missing"
    return message
