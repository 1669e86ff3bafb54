"""Which values hyper-parameters may have: a name means the same in every factory, and has one range."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
S = TypeVar("S")
A = TypeVar("A")


@dataclass(frozen=True)
class Range:
    """What a hyper-parameter may be.

    Attributes:
        text: in words, "a number in [0, inf)", say.
        holds: whether a plain value is such a one.
        shared: whether it may be traced, so that entries of a config that differ in it alone share one program.
    """

    text: str
    holds: Callable[[Any], bool]
    shared: bool = False


def _inside(interval: str) -> Callable[[float], bool]:
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = low.__le__ if interval[0] == "[" else low.__lt__
    below = high.__ge__ if interval[-1] == "]" else high.__gt__
    return lambda value: above(float(value)) and below(float(value))


def number(interval: str, shared: bool = True) -> Range:
    """A finite number in an interval such as "[0, inf)" or "(0, 1]"; true and false are no numbers."""
    inside = _inside(interval)

    def holds(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and inside(value)

    return Range(f"a number in {interval}", holds, shared)


def whole(interval: str) -> Range:
    """A whole number in an interval."""
    inside = _inside(interval)

    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and inside(value)

    return Range(f"a whole number in {interval}", holds)


def wholes(interval: str) -> Range:
    """A list of whole numbers in an interval."""
    each = whole(interval)

    def holds(value: Any) -> bool:
        return isinstance(value, Sequence) and not isinstance(value, str) and all(map(each.holds, value))

    return Range(f"whole numbers in {interval}", holds)


def either(first: Range, second: Range) -> Range:
    """One or the other."""
    return Range(f"{first.text}, or {second.text}", lambda value: first.holds(value) or second.holds(value))


FLAG = Range("true or false", lambda value: isinstance(value, bool))

RANGES: Mapping[str, Range] = MappingProxyType(
    {
        **dict.fromkeys(("alpha", "scale", "strength", "decay", "rate"), number("[0, inf)")),
        **dict.fromkeys(("ridge", "cost_ridge"), number("(0, inf)")),
        **dict.fromkeys(("epsilon", "pilot_weight"), number("[0, 1]")),
        "price_prior": number("[0, inf)", shared=False),
        "discount": number("(0, 1]", shared=False),  # whether it is 1 decides what is computed
        "clip": number("(0, inf)", shared=False),
        "held_out": number("(0, 1)", shared=False),
        **dict.fromkeys(("warmup", "propensity_draws", "arm"), whole("[0, inf)")),
        **dict.fromkeys(("neighbours", "memory", "replay", "every", "batch", "features"), whole("[1, inf)")),
        **dict.fromkeys(("steps", "epochs"), whole("[0, inf)")),
        "hidden": either(whole("[1, inf)"), wholes("[1, inf)")),
        "cost_columns": wholes("[0, inf)"),
        "fusion": Range("the name of a fusion", lambda value: isinstance(value, str)),  # which ones, the factory knows
        **dict.fromkeys(("joint", "normalise", "freeze", "intercept", "exact"), FLAG),
        **dict.fromkeys(("semantics", "dense_feedback", "cost_model"), FLAG),
        "deviations": Range("a mapping of numbers", lambda value: isinstance(value, Mapping)),
    }
)
"""The range of each hyper-parameter of the agents here. `None` is allowed where it is the default."""


def ranged(factory: Callable[Concatenate[S, P], A]) -> Callable[Concatenate[S, P], A]:
    """A factory that refuses values outside `RANGES` with a ValueError that names parameter, value and range.

    Arrays (traced ones, say) and parameters without a range are left to the factory.

    >>> @ranged
    ... def make(spec, alpha=0.3):
    ...     return alpha
    >>> make(None, alpha=-1)
    Traceback (most recent call last):
        ...
    ValueError: make: alpha is -1, expected a number in [0, inf)
    """
    signature = inspect.signature(factory)

    @functools.wraps(factory)
    def checked(spec: S, /, *args: P.args, **options: P.kwargs) -> A:
        for name, value in signature.bind(spec, *args, **options).arguments.items():
            if expected := outside(factory, name, value):
                raise ValueError(f"{factory.__name__}: {name} is {value!r}, expected {expected}")
        return factory(spec, *args, **options)

    return checked


def outside(factory: Callable[..., Any], name: str, value: Any) -> str | None:
    """What a hyper-parameter of a factory is expected to be, if a plain value is none of it; None if all is well."""
    known = RANGES.get(name)
    value = value.item() if isinstance(value, np.generic) else value
    plain = value is None or isinstance(value, bool | int | float | str | list | tuple | Mapping)
    if known is None or not plain or value is inspect.signature(factory).parameters[name].default:
        return None
    return None if known.holds(value) else known.text
