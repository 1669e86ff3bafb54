"""The config of live use: one TOML file for recording, for `UIS/Live-v0` and for `python -m experiments live`.

```
pool = "pool.toml"              # or [endpoints] and [models] right here

[queries]
file = "queries.jsonl"

[[arms]]                        # every combination is an arm
models = ["small"]
methods = ["majority", "best_of_n"]
styles = ["direct"]
budgets = [2, 4]                # [[4, 2, 8]] for methods whose budget has several entries

[record]                        # samples per query, by style
direct = 16
```

Optional: `[styles.<name>]`, `[scorer]`, `[search]`, `[reward]` (settings of `Reward`), `context`, `[experiment]`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from uis_env.arms import Arm, ArmCatalog, arm_features
from uis_env.bandit import Reward
from uis_env.live.client import Client
from uis_env.live.pool import Pool, parse_pool
from uis_env.live.queries import Query, load_queries
from uis_env.live.scorers import Scorer, load_scorer
from uis_env.live.strategies import METHODS, Ask, Search, check_budget
from uis_env.live.styles import Style, load_styles
from uis_env.live.table import Table

MOST_SAMPLES = 10_000
"""Samples per query: more are a slip of the pen, and would not fit into memory."""


class LiveArm(NamedTuple):
    """An arm and how it is played."""

    model: str
    method: str
    style: str
    budget: tuple[int, ...]

    @property
    def arm(self) -> Arm:
        """As the catalog has it."""
        return Arm(self.model, self.method, self.budget, self.style)


@dataclass(frozen=True, eq=False)
class LiveConfig:
    """A config, read and checked.

    Attributes:
        path: the file.
        pool, queries, styles, scorer, search: what arms are played with.
        arms: in order; may be empty for a config that only records.
        record: style -> samples per query.
        reward: settings of `Reward`.
        context: "hashed", "text", or the path of an .npy file.
        experiment: what `python -m experiments live` plays: rounds, seed and agent; read there.
        digest: sha256 of everything that decides what is asked: a run resumes only under the same.
    """

    path: Path
    pool: Pool
    queries: tuple[Query, ...]
    styles: Mapping[str, Style]
    scorer: Scorer
    search: Search
    arms: tuple[LiveArm, ...]
    record: Mapping[str, int]
    reward: Reward
    context: str
    experiment: Mapping[str, Any]
    digest: str

    def recorded(self) -> list[str]:
        """The models that are recorded: all, save a scorer's that no arm plays."""
        played = {arm.model for arm in self.arms} or set(self.pool.models)
        return [name for name in self.pool.models if name in played or name != getattr(self.scorer, "model", None)]

    def ask(self, client: Client, query: Query, arm: LiveArm, seed: int) -> Ask:
        """What a method is handed to play an arm on a query."""
        return Ask(client, arm.model, query, self.styles[arm.style], seed, self.scorer, self.search)

    def catalog(self) -> ArmCatalog:
        """All arms.

        Raises:
            ValueError: if there is none.
        """
        if not self.arms:
            raise ValueError(f"{self.path}.arms: missing, expected at least one [[arms]] table")
        return make_catalog(self.arms, self.pool)


def make_catalog(arms: Sequence[LiveArm], pool: Pool) -> ArmCatalog:
    """Arms with features: one-hot model, method and style; log2 of the budget's product, log parameters, log price."""
    cards = [pool.models[arm.model].card for arm in arms]
    numbers: dict[str, Any] = {"log2_budget": np.log2([np.prod(arm.budget) for arm in arms])}
    if all(card.params for card in cards):
        numbers["log_params"] = np.log([card.params or 1 for card in cards])
    prices = [card.price.output if card.price else 0.0 for card in cards]
    if min(prices) > 0:
        numbers["log_price"] = np.log(prices)
    labels = {name: [getattr(arm, name) for arm in arms] for name in ("model", "method", "style")}
    features, names = arm_features(labels, numbers)
    texts = tuple(f"{arm.model}; {arm.method} with budget {arm.budget}; {arm.style} prompt" for arm in arms)
    return ArmCatalog(tuple(arm.arm for arm in arms), features, names, texts)


def load_config(path: Path) -> LiveConfig:
    """Reads a config.

    Raises:
        ValueError: naming the file and key of what is unknown, missing or not as expected.
        FileNotFoundError: if it, or a file that it names, does not exist.
    """
    table, base = Table.read(path), path.parent
    source = Table.read(base / table.take("pool", str)) if "pool" in table else table
    pool = parse_pool(source)
    if source is not table:
        source.done()
    styles = load_styles(table.tables("styles", {}))
    queries = load_queries(table.table("queries"), base)
    settings = {**table.data, "models": source.data["models"]}
    for key in ("endpoints", "experiment"):
        settings.pop(key, None)
    arms = [arm for i, spec in enumerate(table.take("arms", list, [])) for arm in _arms(spec, i, path, pool, styles)]
    repeated = sorted({arm.arm.name for arm in arms if arms.count(arm) > 1})
    if repeated:
        raise ValueError(f"{path}.arms: {repeated[0]} is there twice")
    config = LiveConfig(
        path=path,
        pool=pool,
        queries=queries,
        styles=styles,
        scorer=load_scorer(table.table("scorer") if "scorer" in table else None, list(pool.models)),
        search=_search(table.table("search", {})),
        arms=tuple(arms),
        record=_record(table.table("record", {}), styles),
        reward=_reward(table.table("reward", {})),
        context=_context(table.take("context", str, "hashed"), base, path),
        experiment=table.take("experiment", dict, {}),
        digest=_digest(settings, queries),
    )
    table.done()
    return config


def _arms(spec: Any, i: int, path: Path, pool: Pool, styles: Mapping[str, Style]) -> list[LiveArm]:
    table = Table(spec, f"{path}.arms[{i}]")
    known = {"models": tuple(pool.models), "methods": tuple(METHODS), "styles": tuple(styles)}
    chosen = {
        "models": table.texts("models", list(pool.models)),
        "methods": table.texts("methods"),
        "styles": table.texts("styles", ["direct"]),
    }
    for key, names in chosen.items():
        unknown = [name for name in names if name not in known[key]]
        if unknown or not names:
            raise ValueError(f"{table.where}.{key}: {unknown}, expected some of {', '.join(known[key])}")
    budgets = []
    for value in table.take("budgets", list):
        entries = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, int) and not isinstance(entry, bool) for entry in entries):
            raise ValueError(f"{table.where}.budgets: {value!r}, expected integers or lists of integers")
        budgets.append(tuple(entries))
    table.done()
    for method in chosen["methods"]:
        for budget in budgets:
            try:
                check_budget(method, budget)
                if math.prod(budget) > MOST_SAMPLES:
                    raise ValueError(f"budget {list(budget)}, expected at most {MOST_SAMPLES} samples per query")
            except ValueError as error:
                raise ValueError(f"{table.where}: {error}") from None
    return [
        LiveArm(model, method, style, budget)
        for model in chosen["models"]
        for method in chosen["methods"]
        for style in chosen["styles"]
        for budget in budgets
    ]


def _search(table: Table) -> Search:
    search = Search(
        depth=table.integer("depth", 8, low=1),
        stop=table.take("stop", str, "\n"),
        max_tokens=table.integer("max_tokens", 64, low=1),
        early_exit=table.take("early_exit", bool, True),
        ceiling=table.number("ceiling", 1.0, low=0),
    )
    table.done()
    return search


def _record(table: Table, styles: Mapping[str, Style]) -> dict[str, int]:
    record = {style: table.integer(style, low=1) for style in styles if style in table}
    for style, samples in record.items():
        if samples > MOST_SAMPLES:
            raise ValueError(f"{table.where}.{style}: {samples}, expected at most {MOST_SAMPLES} samples per query")
    table.done()
    return record


def _reward(table: Table) -> Reward:
    settings = table.rest()
    known = [field.name for field in fields(Reward)]
    for key in settings:
        if key not in known:
            raise ValueError(f"{table.where}: unknown key {key!r}, expected {', '.join(known)}")
    if "ends" in settings:
        settings["ends"] = tuple(settings["ends"])
    try:
        return Reward(**settings)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{table.where}: {error}") from None


def _context(name: str, base: Path, path: Path) -> str:
    if name in ("hashed", "text"):
        return name
    if not name.endswith(".npy") or not (base / name).is_file():
        raise ValueError(f"{path}.context: {name!r}, expected 'hashed', 'text' or an .npy file that exists")
    return str(base / name)


def _digest(settings: Mapping[str, Any], queries: tuple[Query, ...]) -> str:
    """Of what is asked of whom; not of endpoints, whose addresses, timeouts and keys may change."""
    text = json.dumps([settings, [query.to_json() for query in queries]], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
