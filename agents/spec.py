"""What an agent is made from: the sizes of a world and what is publicly known of its arms."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agents.columns import constants, warn_of_columns
from agents.text import text_features
from uis_env.arms import ArmCatalog
from uis_env.bandit import Reward
from uis_env.listing import public_costs
from uis_env.world import World


@dataclass(frozen=True, eq=False)
class Spec:
    """The sizes and the public knowledge about arms that a factory closes over.

    Attributes:
        arms: K.
        context: D, features per query.
        features: (K, F) float32 description of each arm.
        model: (K,) int32, each arm's model as an index into `prices`.
        method: (K,) int32, each arm's method as an index.
        budget: (K,) int32, each arm's budget as an index.
        log_budget: (K,) float32, log2 of the samples (or paths) that the budget buys.
        list_cost: (K,) float32, what each arm costs according to public knowledge: card prices or shapes, and nominal
            lengths by budget (`uis_env.listing`), in the unit that the reward prices. NaN where no price is known, and
            zeros where the world has no such cost.
        list_quality: (K,) float32, a public prior of each arm's strength (log parameters, say), for "strongest".
        channels: names of the channels that a Feedback will carry.
        horizon: T, rounds of an episode (for buffers).
        constants: columns of the context that hold one and the same number, not zero, for all queries.
        transform: g of the cost term of the reward, "linear", "clipped" or "log" (`uis_env.bandit.Reward`).
        ends: (low, high) of a clipped or log cost.
    """

    arms: int
    context: int
    features: NDArray[np.float32]
    model: NDArray[np.int32]
    method: NDArray[np.int32]
    budget: NDArray[np.int32]
    log_budget: NDArray[np.float32]
    list_cost: NDArray[np.float32]
    list_quality: NDArray[np.float32]
    channels: tuple[str, ...]
    horizon: int
    constants: tuple[int, ...] = ()
    transform: str = "linear"
    ends: tuple[float, float] = (0.0, 1.0)


def make_spec(
    world: World,
    reward: Reward,
    horizon: int,
    context: str | None = None,
    arms: Literal["catalog", "text"] = "catalog",
) -> Spec:
    """The Spec of agents that play a world.

    Args:
        world: what is played.
        reward: what rounds pay; it decides which channel `list_cost` is in, and how cost enters.
        horizon: rounds of an episode.
        context: which of the world's contexts agents see (None: its first).
        arms: how arms are described: "catalog", the numbers of the arm catalog, or "text", features of the arms'
            descriptions.

    Raises:
        ValueError: if the world has no such context, or the texts do not tell the arms apart.

    >>> import agents, uis_env
    >>> spec = agents.make_spec(uis_env.worlds.load("Recorded"), uis_env.Reward(cost=1.0), horizon=1000)
    >>> spec.arms, spec.channels
    (54, ('quality', 'score', 'dollars', 'eflops', 'tokens', 'latency'))
    """
    cost = np.zeros(len(world.catalog))
    if getattr(world.channels, reward.cost_channel) is not None:
        cost = public_costs(world.catalog, world.provenance, reward.cost_channel)
    try:
        features = world.catalog.features if arms == "catalog" else text_features(world.catalog.descriptions)[0]
    except ValueError as error:
        raise ValueError(f"arms = 'text' on world {world.name!r}: {error}") from None
    seen = world.context(context)
    warn_of_columns(seen, f"context {context or next(iter(world.contexts))!r} of world {world.name!r}")
    return spec_of(
        world.catalog,
        reward,
        horizon,
        context=seen.shape[1],
        constants=constants(seen),
        channels=tuple(world.channels.present()),
        list_cost=cost,
        ends=reward.ends or world.cost_ends.get(reward.cost_channel),
        features=features,
    )


def spec_of(
    catalog: ArmCatalog,
    reward: Reward,
    horizon: int,
    *,
    context: int,
    constants: tuple[int, ...] = (),
    channels: Sequence[str],
    list_cost: NDArray[np.float64],
    ends: tuple[float, float] | None = None,
    features: NDArray[np.float32] | None = None,
) -> Spec:
    """The Spec of a catalog of K arms that is played without a World (live endpoints, say).

    Args:
        catalog: the arms.
        reward: what rounds pay.
        horizon: rounds of an episode.
        context: features per query.
        constants: which of them are constant (`agents.columns.constants`).
        channels: what a Feedback will carry.
        list_cost: (K,) public knowledge of what an arm costs, NaN where nothing is known.
        ends: of the cost, if it is clipped or logarithmic.
        features: (K, F) of the arms, if not the catalog's.
    """
    return Spec(
        arms=len(catalog),
        context=context,
        constants=constants,
        features=catalog.features if features is None else features,
        model=catalog.model_index,
        method=catalog.recipe_index,
        budget=_places([arm.budget for arm in catalog.arms], catalog.budgets),
        log_budget=np.log2([math.prod(arm.budget) for arm in catalog.arms]).astype(np.float32),
        list_cost=list_cost.astype(np.float32),
        list_quality=_public_strength(catalog, list_cost),
        channels=tuple(channels),
        horizon=horizon,
        transform=reward.transform,
        ends=ends or (0.0, 1.0),
    )


def known_prices(spec: Spec, otherwise: str) -> NDArray[np.bool_]:
    """(K,) arms whose list cost is known; one warning, ending in `otherwise`, if some are not."""
    known = ~np.isnan(spec.list_cost)
    if not known.all():
        many = "no arm" if not known.any() else f"{known.sum()} of {spec.arms} arms"
        warnings.warn(f"a list price is known of {many}: {otherwise}", stacklevel=2)
    return known


def _places(labels: Sequence[Any], known: Sequence[Any]) -> NDArray[np.int32]:
    """(K,) each label's place among the known ones."""
    return np.array([known.index(label) for label in labels], np.int32)


def _public_strength(catalog: ArmCatalog, cost: NDArray[np.float64]) -> NDArray[np.float32]:
    """(K,) larger models first (by parameters, else by list cost), the arm of a model that costs more first."""
    names = catalog.feature_names
    cost = np.nan_to_num(cost)
    size = catalog.features[:, names.index("log_params")] if "log_params" in names else cost
    rank = np.unique(size, return_inverse=True)[1]
    return (rank + cost / (cost.max() * 2 or 1.0)).astype(np.float32)
