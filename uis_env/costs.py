"""What an answer costs: price tables and token classes to US dollars; token counts to eFLOPs (Kinetics)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

INTENSITY = 156.0
"""FLOPs per byte of memory traffic of an A100 (312 TFLOPS / 2.0 TB/s): weighs memory against compute."""


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens.

    Attributes:
        input, output: prompt tokens read afresh, generated tokens.
        cached: prompt tokens read from a cache.
        written: prompt tokens written to a cache; None where that costs what `input` costs.
    """

    input: float
    output: float
    cached: float
    written: float | None = None

    @property
    def write(self) -> float:
        """Of prompt tokens written to a cache."""
        return self.input if self.written is None else self.written

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached", "write"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"price of {name} tokens is {value}, expected a number >= 0 (USD per million tokens)")


@dataclass(frozen=True)
class ModelCard:
    """What costs depend on. Shapes are None for models whose architecture is not public.

    Attributes:
        name: the model's name in the arm catalog.
        params: parameters read per generated token.
        layers, query_heads, kv_heads, head_dim: the attention's shape.
        price: list price, or our choice for local models (said in the price table).
    """

    name: str
    params: float | None = None
    layers: int | None = None
    query_heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    price: Price | None = None

    @property
    def kv_width(self) -> int:
        """D: elements of keys and values stored per token, over all layers."""
        return 2 * self._shape("layers") * self._shape("kv_heads") * self._shape("head_dim")

    @property
    def group_ratio(self) -> float:
        """r: query heads per key-value head."""
        return self._shape("query_heads") / self._shape("kv_heads")

    @property
    def shaped(self) -> bool:
        """Whether the shape is known, as eFLOPs need it."""
        return None not in (self.params, self.layers, self.query_heads, self.kv_heads, self.head_dim)

    def _shape(self, field: str) -> int:
        value = getattr(self, field)
        if value is None:
            raise ValueError(f"model {self.name!r} has no {field}: eFLOPs need the model's shape")
        return int(value)


def load_model_cards(path: Path) -> dict[str, ModelCard]:
    """Reads `[models.<name>]` tables (the fields of ModelCard, `price = {input, output, cached}`) from a TOML file.

    Raises:
        ValueError: naming the file, the model and the key that is unknown, missing or of the wrong type.
    """
    with path.open("rb") as file:
        try:
            data = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: not TOML: {error}") from None
    models = data.get("models")
    if not isinstance(models, dict) or not models:
        raise ValueError(f"{path}: expected one [models.<name>] table per model")
    return {name: parse_model_card(name, entry, f"{path}: models.{name}") for name, entry in models.items()}


def parse_model_card(name: str, entry: Mapping[str, Any], where: str) -> ModelCard:
    """One ModelCard from parsed TOML; `where` opens every error message."""
    fields = dict(entry)
    price = fields.pop("price", None)
    known = {"params", "layers", "query_heads", "kv_heads", "head_dim"}
    for key, value in fields.items():
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}, expected {', '.join(sorted(known))} or price")
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ValueError(f"{where}.{key}: {value!r}, expected a number > 0")
    if price is not None:
        if not isinstance(price, Mapping) or set(price) - {"written"} != {"input", "output", "cached"}:
            raise ValueError(
                f"{where}.price: expected exactly input, output and cached (USD per million tokens), and written "
                "where writing to a cache has a price of its own"
            )
        for key, value in price.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{where}.price.{key}: {value!r}, expected a number")
        try:
            price = Price(**{key: float(value) for key, value in price.items()})
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    return ModelCard(name=name, price=price, **fields)


def dollars(
    price: Price, uncached: ArrayLike, cached: ArrayLike, output: ArrayLike, written: ArrayLike = 0.0
) -> NDArray[np.float64]:
    """US dollars of calls with the given token counts (any shapes that broadcast).

    `uncached`, `cached` and `written` prompt tokens are disjoint; reasoning tokens are part of `output`. NaN in, NaN
    out: missing usage never becomes a price of zero.
    """
    total = (
        np.asarray(uncached, np.float64) * price.input
        + np.asarray(cached, np.float64) * price.cached
        + np.asarray(output, np.float64) * price.output
        + np.asarray(written, np.float64) * price.write
    )
    return np.asarray(total / 1e6)


def compute_and_memory(
    card: ModelCard, prompt: ArrayLike, generated: ArrayLike, squares: ArrayLike, steps: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """FLOPs and bytes of decoding (Kinetics, arXiv 2506.05333), for sequences of unequal length on one prompt.

    With P parameters, D = `card.kv_width` and r = `card.group_ratio`:
    `compute = 2·P·generated + 2·r·prompt·generated·D + r·squares·D`, `memory = 2·prompt·steps·D + squares·D`.
    For N sequences of equal length L (generated = N·L, squares = N·L², steps = L) these are the published formulas.

    Args:
        card: the model's shape.
        prompt: prompt tokens, shared by all sequences.
        generated: tokens generated in all sequences together.
        squares: sum over generated tokens of 2·(tokens of its own sequence before it) + 1, i.e. sum of L_n².
        steps: decoding steps (the longest sequence when all run side by side).

    Returns:
        (FLOPs, bytes), float64, of the arguments' common shape.
    """
    if card.params is None:
        raise ValueError(f"model {card.name!r} has no params: eFLOPs need the model's shape")
    width, ratio = card.kv_width, card.group_ratio
    prompt, generated, squares, steps = (np.asarray(x, np.float64) for x in (prompt, generated, squares, steps))
    compute = 2 * card.params * generated + 2 * ratio * prompt * generated * width + ratio * squares * width
    memory = 2 * prompt * steps * width + squares * width
    return np.asarray(compute), np.asarray(memory)


def eflops(compute: ArrayLike, memory: ArrayLike, intensity: float = INTENSITY) -> NDArray[np.float64]:
    """Tera-eFLOPs of `compute` FLOPs and `memory` bytes: `(compute + intensity·memory) / 1e12`."""
    return np.asarray((np.asarray(compute, np.float64) + intensity * np.asarray(memory, np.float64)) / 1e12)


def prefill(card: ModelCard, tokens: ArrayLike) -> NDArray[np.float64]:
    """FLOPs of reading `tokens` uncached prompt tokens, `2·P·tokens` (the Kinetics formula counts decoding only)."""
    if card.params is None:
        raise ValueError(f"model {card.name!r} has no params: eFLOPs need the model's shape")
    return np.asarray(2 * card.params * np.asarray(tokens, np.float64))
