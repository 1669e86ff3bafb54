"""The claims of latency- and token-aware test-time compute: values, shares, crossings and areas of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from experiments.components import two_way_ratio
from experiments.config import ConfigError
from experiments.paper import claims
from experiments.paper.claims import Finding, Section
from experiments.statistics import Estimate
from experiments.sweeps import measures
from experiments.sweeps.measures import VALUES, Array, Policy, Sweep, curve

CLAIMS = Path(__file__).parent / "claims.toml"
BLIND = "best_fixed"
"""A chooser that never looks at the query: the configuration of the best mean reward at each price."""
Price = Annotated[float, Meta(ge=0.0)]


class Claim(claims.Claim, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A claim about a policy of a sweep.

    Attributes:
        policy: an agent, a reference (`measures`), or "static:METHOD@BUDGET"; "static:best" is the most accurate one.
        metric: `accuracy`, `tokens`, `seconds` or `share` at the prices; `accuracy` at `at` tokens or seconds of the
            frontier along `axis`; `area` against all static configurations along `axis`; `crossing`, the price along
            `axis` from which `budgets` are chosen more often than `other_budgets`. Accuracies and shares in per cent.
        tokens, latency: the prices λ_T and λ_L.
        axis: of a frontier, an area or a crossing: "tokens" (λ_L = 0) or "seconds" (λ_T = 0).
        at: a place on the axis.
        methods, budgets: of a share: which arms count (any, if left out; of a budget its samples N).
        other: a policy at the same prices.
        other_methods, other_budgets: instead of `other`, other arms of the same policy.
    """

    policy: str
    metric: Literal["accuracy", "tokens", "seconds", "share", "area", "crossing"]
    tokens: Price = 0.0
    latency: Price = 0.0
    axis: Literal["tokens", "seconds"] | None = None
    at: float | None = None
    methods: tuple[str, ...] | None = None
    budgets: tuple[int, ...] | None = None
    other_methods: tuple[str, ...] | None = None
    other_budgets: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.metric in ("area", "crossing") or self.at is not None) != (self.axis is not None):
            raise ValueError("expected an axis for an area, a crossing or a place on a frontier, and for nothing else")

    @property
    def compared(self) -> bool:
        """Whether ours is a difference or a ratio."""
        others = (self.other, self.other_methods, self.other_budgets)
        return self.metric == "area" or (self.metric != "crossing" and any(part is not None for part in others))

    @property
    def where(self) -> str:
        """The prices, or the axis."""
        if self.at is not None:
            return f"{self.policy} at {self.at:g} {self.axis}"
        if self.axis is not None:
            return f"{self.policy}, along {self.axis}"
        return self.policy if self.policy.startswith("static:") else f"{self.policy}, {_prices(self)}"

    def write(self, value: float) -> str:
        """A number of this claim."""
        if self.compare == "ratio":
            return f"{value:.3g}×"
        sign = "+" if self.compared else ""
        digits = {"tokens": ",.0f", "seconds": ".2f", "crossing": ".2g"}.get(self.metric, ".1f")
        return f"{value:{sign}{digits}}".replace("-", "−")

    def columns(self) -> Mapping[str, Any]:
        """Columns of the CSV file."""
        names = ("policy", "metric", "tokens", "latency", "axis", "other")
        return {name: "" if getattr(self, name) is None else getattr(self, name) for name in names}


def find(section: Section[Claim], claim: Claim, world: str, sweeps: Sequence[Sweep]) -> Finding[Claim]:
    """Measures a claim in one world.

    Raises:
        ConfigError: naming the claim whose world, policy, prices or arms are not there.
    """
    sweep = next((one for one in sweeps if one.game.key.world == world), None)
    if sweep is None:
        raise ConfigError(f"claim {claim.text!r}: {section.config} has no world {world!r}")
    try:
        ours = measure(sweep, claim)
        blind = measure(sweep, msgspec.structs.replace(claim, policy=BLIND)) if claim.policy in sweep.agents else None
    except KeyError as error:
        raise ConfigError(f"claim {claim.text!r}: {section.config} has no {error.args[0]}") from None
    return Finding(section, claim, world, sweep.game.world.simulated, ours, len(sweep.seeds), blind=blind)


def measure(sweep: Sweep, claim: Claim) -> Estimate:
    """Ours, with its interval over questions and seeds.

    Raises:
        KeyError: naming what the sweep does not have.
    """
    policy = _policy(sweep, claim.policy)
    if claim.metric == "crossing":
        return _crossing(sweep, claim, policy)
    if claim.metric == "area":
        assert claim.axis is not None
        own = curve(policy, claim.axis, _points(sweep, claim, policy))
        found = measures.area(own, curve(sweep.static, claim.axis))
        return Estimate(*(100 * value for value in found.difference))
    if claim.at is not None:
        assert claim.axis is not None
        own = curve(policy, claim.axis, _points(sweep, claim, policy))
        return Estimate(*(100 * value for value in measures.accuracy_at(own, claim.at)))
    mine = _values(sweep, claim, policy, claim.methods, claim.budgets)
    if not claim.compared:
        return measures.estimate(mine)
    if claim.other is not None:
        other = _values(sweep, claim, _policy(sweep, claim.other), claim.methods, claim.budgets)
    else:
        other = _values(sweep, claim, policy, claim.other_methods, claim.other_budgets)
    return two_way_ratio(mine.T, other.T) if claim.compare == "ratio" else measures.estimate(mine - other)


def _values(
    sweep: Sweep, claim: Claim, policy: Policy, methods: Sequence[str] | None, budgets: Sequence[int] | None
) -> Array:
    """(n, S) values at the prices of a claim."""
    place = 0 if policy.value.shape[2] == 1 else _place(sweep, claim)
    if claim.metric == "share":
        return 100.0 * policy.shares(_arms(sweep, methods, budgets))[:, :, place]
    scale = 100.0 if claim.metric == "accuracy" else 1.0
    return np.asarray(scale * policy.value[:, :, place, VALUES.index(claim.metric)])


def _crossing(sweep: Sweep, claim: Claim, policy: Policy) -> Estimate:
    """The least price from which some arms are chosen more often than others; infinite if they never are.

    Its interval: prices at which the interval of the difference in shares does not exclude a crossing.
    """
    assert claim.axis is not None
    along = _points(sweep, claim, policy)
    gain = policy.shares(_arms(sweep, claim.methods, claim.budgets)).astype(float)
    gain -= policy.shares(_arms(sweep, claim.other_methods, claim.other_budgets))
    gain = gain[:, :, along]
    price = np.append(sweep.weights[along, 0 if claim.axis == "tokens" else 1], np.inf)
    low, high = measures.intervals(gain)
    # whoever is surely behind at a price crosses later, whoever is surely ahead from a price on has crossed there
    return Estimate(*(_first(price, ahead) for ahead in (gain.mean(axis=(0, 1)) > 0, high > 0, low > 0)))


def _first(price: Array, ahead: Array) -> float:
    """The first of (m + 1,) prices, the last infinite, from which on all of (m,) bool hold."""
    behind = np.flatnonzero(~ahead)
    return float(price[behind[-1] + 1 if len(behind) else 0])


def _points(sweep: Sweep, claim: Claim, policy: Policy) -> Array:
    """The points of a policy that a frontier goes through."""
    assert claim.axis is not None
    return np.zeros(1, int) if policy.value.shape[2] == 1 else sweep.along(claim.axis)


def _policy(sweep: Sweep, name: str) -> Policy:
    if not name.startswith("static:"):
        if name not in sweep.policies:
            raise KeyError(f"policy {name!r}")
        return sweep.policies[name]
    wanted = name.removeprefix("static:")
    if wanted == "best":
        place = int(sweep.static.mean[:, 0].argmax())
    else:
        names = [sweep.game.world.catalog.arms[arm].name.partition("/")[2] for arm in sweep.arms]
        if wanted not in names:
            raise KeyError(f"static configuration {wanted!r}")
        place = names.index(wanted)
    return Policy(name, sweep.static.value[:, :, place : place + 1])


def _place(sweep: Sweep, claim: Claim) -> int:
    """The preference nearest to the prices of a claim, which must be one of the sweep's."""
    wanted = np.array([claim.tokens, claim.latency])
    close = np.isclose(sweep.weights, wanted, rtol=1e-3, atol=0.0).all(axis=1)
    if not close.any():
        raise KeyError(f"preference {_prices(claim)}")
    return int(close.argmax())


def _arms(sweep: Sweep, methods: Sequence[str] | None, budgets: Sequence[int] | None) -> Array:
    chosen = [
        (methods is None or arm.method in methods) and (budgets is None or arm.budget[0] in budgets)
        for arm in sweep.game.world.catalog.arms
    ]
    if not any(chosen):
        raise KeyError(f"arm with methods {methods} and budgets {budgets}")
    return np.array(chosen)


def _prices(claim: Claim) -> str:
    return f"λ_T = {claim.tokens:g}, λ_L = {claim.latency:g}"
