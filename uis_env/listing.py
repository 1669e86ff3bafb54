"""What is publicly known of an arm's cost before anything is played: price lists, shapes and nominal lengths.

A world keeps it in its provenance under "public" (`public`), so that it says what its agents may know in advance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.arms import ArmCatalog
from uis_env.costs import ModelCard, compute_and_memory, dollars, eflops, parse_model_card, prefill

PROMPT, TOKENS = 128, 64
"""Nominal tokens of a prompt and of an answer, where a world states no others."""


def public(cards: Iterable[ModelCard], tokens: int = TOKENS, prompt: int = PROMPT) -> dict[str, Any]:
    """Plain JSON for `provenance["public"]`: prices and shapes of the models, and nominal lengths.

    Args:
        cards: of the world's models, named as in its catalog.
        tokens: round number of tokens that an answer has in tasks of this kind; not measured on the world.
        prompt: the same of a prompt.
    """
    plain = {card.name: {key: value for key, value in asdict(card).items() if value is not None} for card in cards}
    for entry in plain.values():
        del entry["name"]
        if "price" in entry:
            entry["price"] = {key: value for key, value in entry["price"].items() if value is not None}
    return {"models": plain, "prompt_tokens": prompt, "answer_tokens": tokens}


def public_costs(catalog: ArmCatalog, provenance: Mapping[str, Any], channel: str) -> NDArray[np.float64]:
    """(K,) cost of each arm by price list and nominal lengths: the budget's samples, all of one length, on one prompt.

    Nothing that was measured on the world's queries goes in.

    Args:
        catalog: the arms; a budget of several numbers buys their product of samples.
        provenance: of the world; "public" holds what `public` made.
        channel: "dollars" (needs a price) or "eflops" (needs a shape).

    Returns:
        US dollars or tera-eFLOPs; NaN where the model has no price or no shape.

    Example:
        >>> from uis_env import worlds
        >>> world = worlds.load("Recorded")
        >>> public_costs(world.catalog, world.provenance, "dollars").shape
        (54,)
    """
    known = provenance.get("public") or {}
    prompt, tokens = known.get("prompt_tokens", PROMPT), known.get("answer_tokens", TOKENS)
    cards = {
        name: parse_model_card(name, entry, f"public.models.{name}") for name, entry in known.get("models", {}).items()
    }

    def cost(model: str, samples: int) -> float:
        card = cards.get(model)
        if card is None:
            return math.nan
        if channel == "dollars":
            return math.nan if card.price is None else float(dollars(card.price, prompt, 0, samples * tokens))
        if None in (card.params, card.layers, card.query_heads, card.kv_heads, card.head_dim):
            return math.nan
        compute, memory = compute_and_memory(card, prompt, samples * tokens, samples * tokens**2, tokens)
        return float(eflops(compute + prefill(card, prompt), memory))

    return np.array([cost(arm.model, math.prod(arm.budget)) for arm in catalog.arms])
