"""The pool file: endpoints, the models behind them, their prices and shapes, as TOML.

```
[endpoints.local]
base_url = "http://127.0.0.1:8080/v1"
key_env = "LOCAL_KEY"            # the NAME of an environment variable; keys stand in no file

[models.small]
endpoint = "local"
id = "small-instruct-q4"         # the model's name over there; default: the table's name
params = 135e6                   # layers, query_heads, kv_heads, head_dim: for eFLOPs
price = { input = 0.05, cached = 0.01, output = 0.2 }   # USD per million tokens
```
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from uis_env.costs import ModelCard, parse_model_card
from uis_env.live.table import Table

OMITTED = ("seed", "temperature", "stop", "logprobs")
"""Fields that can be left out of requests."""
RESERVED = (
    *("n", "best_of", "max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "num_predict"),
    *("model", "messages", "input", "prompt", "stream", "seed"),
)
"""Fields that `extra` and `prefill` cannot set: they decide what is reserved, asked for and read."""
_PER_TOKEN = 1e-3  # US dollars per million tokens; what is below was meant per token


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server.

    Attributes:
        name: in the pool file.
        base_url: up to and including `/v1`.
        key_env: the environment variable that holds the key; None sends none.
        timeout: seconds for a whole call.
        concurrency: calls in flight at once.
        retries: how often a call is sent again after a failure that may pass.
        backoff: seconds before the first retry, doubled for each further one, with jitter.
        max_wait: seconds; a server that asks to wait for longer stops the run.
        max_bytes: of a response, after decompression; a longer one ends the call.
        organization, project: sent as OpenAI's headers to this endpoint alone; None sends none.
    """

    name: str
    base_url: str
    key_env: str | None = None
    timeout: float = 120.0
    concurrency: int = 8
    retries: int = 4
    backoff: float = 0.5
    max_wait: float = 60.0
    max_bytes: int = 8 << 20
    organization: str | None = None
    project: str | None = None


@dataclass(frozen=True)
class Model:
    """A model of the pool.

    Attributes:
        card: its name, price and shape.
        endpoint: where it is served.
        id: its name over there.
        max_n: most samples in one call; larger requests are split, and a refused one halves it.
        logprobs: whether to ask for log-probabilities (they count the tokens of every sample, and score it).
        limit_key: "max_tokens" or "max_completion_tokens".
        prefill: what to add to a request whose last message is the beginning of the answer; None if the endpoint
            cannot continue one (steps are then asked for in words).
        omit: fields that are never sent, some of OMITTED.
        extra: added to every request.
        overhead: most prompt tokens that the chat template adds to the text itself.
    """

    card: ModelCard
    endpoint: Endpoint
    id: str
    max_n: int = 8
    logprobs: bool = True
    limit_key: str = "max_tokens"
    prefill: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] | None = None
    omit: tuple[str, ...] = ()
    overhead: int = 256

    @property
    def name(self) -> str:
        """Its name in the pool."""
        return self.card.name


@dataclass(frozen=True)
class Pool:
    """The models, by name."""

    models: Mapping[str, Model]

    @property
    def cards(self) -> dict[str, ModelCard]:
        """Prices and shapes, by model."""
        return {name: model.card for name, model in self.models.items()}

    @property
    def priced(self) -> bool:
        """Whether every model has a price."""
        return all(model.card.price is not None for model in self.models.values())


def parse_pool(table: Table) -> Pool:
    """The `endpoints` and `models` of a table.

    Raises:
        ValueError: naming the file and the key that is unknown, missing or not as expected.
    """
    endpoints = {name: _endpoint(name, entry) for name, entry in table.tables("endpoints").items()}
    models = {name: _model(name, entry, endpoints) for name, entry in table.tables("models").items()}
    if not models:
        raise ValueError(f"{table.where}.models: expected at least one model")
    return Pool(models)


def _endpoint(name: str, table: Table) -> Endpoint:
    url = table.take("base_url", str)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{table.where}.base_url: expected http(s)://host[:port]/v1")
    if parts.username or parts.password or parts.query:
        raise ValueError(f"{table.where}.base_url: credentials do not belong in a URL; name a variable in key_env")
    tail = re.search(r"/(chat/completions|completions|embeddings|responses)/?$", parts.path)
    if tail:
        raise ValueError(f"{table.where}.base_url: ends in {tail[0]}, expected what stands before it")
    variable = table.take("key_env", str, None)
    if variable is not None and not re.fullmatch(r"[A-Za-z_]\w*", variable):
        raise ValueError(f"{table.where}.key_env: expected the NAME of an environment variable, never the key itself")
    endpoint = Endpoint(
        name=name,
        base_url=url,
        key_env=variable,
        timeout=table.number("timeout", 120.0, low=0.001),
        concurrency=table.integer("concurrency", 8, low=1),
        retries=table.integer("retries", 4, low=0),
        backoff=table.number("backoff", 0.5, low=0),
        max_wait=table.number("max_wait", 60.0, low=0),
        max_bytes=table.integer("max_bytes", 8 << 20, low=1),
        organization=_header(table, "organization"),
        project=_header(table, "project"),
    )
    table.done()
    return endpoint


def _model(name: str, table: Table, endpoints: Mapping[str, Endpoint]) -> Model:
    if "/" in name or "@" in name:
        raise ValueError(f"{table.where}: a model's name in the pool holds no '/' or '@' (its id may)")
    endpoint = table.choice("endpoint", tuple(endpoints))
    model = Model(
        endpoint=endpoints[endpoint],
        id=table.take("id", str, name),
        max_n=table.integer("max_n", 8, low=1),
        logprobs=table.take("logprobs", bool, True),
        limit_key=table.choice("limit_key", ("max_tokens", "max_completion_tokens"), "max_tokens"),
        prefill=_fields(table, "prefill"),
        extra=_fields(table, "extra"),
        omit=table.texts("omit", ()) if "omit" in table else (),
        overhead=table.integer("overhead", 256, low=0),
        card=parse_model_card(name, table.rest(), table.where),
    )
    unknown = [field for field in model.omit if field not in OMITTED]
    if unknown:
        raise ValueError(f"{table.where}.omit: {unknown[0]!r}, expected some of {', '.join(OMITTED)}")
    price = model.card.price
    prices = [] if price is None else [value for value in (price.input, price.output, price.cached) if value]
    if prices and max(prices) < _PER_TOKEN:
        raise ValueError(
            f"{table.where}.price: {max(prices):g} looks like US dollars per token, expected them per million tokens: "
            f"{max(prices) * 1e6:g}? (0 for what costs nothing)"
        )
    if model.card.price is not None and model.card.price.cached > model.card.price.input:
        raise ValueError(f"{table.where}.price: cached tokens cost more than others, expected at most as much")
    return model


def _fields(table: Table, key: str) -> dict[str, Any] | None:
    """Fields of a request; those that decide what is reserved cannot be set."""
    fields: dict[str, Any] | None = table.take(key, dict, None)
    for holder in (fields or {}, *(value for value in (fields or {}).values() if isinstance(value, dict))):
        taken = [name for name in holder if name in RESERVED]
        if taken:
            raise ValueError(
                f"{table.where}.{key}: {taken[0]!r} decides what is asked for and reserved; set it with max_n, "
                "limit_key, id, omit or the style's max_tokens"
            )
    return fields


def _header(table: Table, key: str) -> str | None:
    value = table.take(key, str, None)
    if value is not None and not re.fullmatch(r"[!-~]+", value):
        raise ValueError(f"{table.where}.{key}: {value!r}, expected ASCII without white space")
    return value
