"""Hyper-parameters have ranges, everywhere the same: in Python, in configs, in live runs."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import AGENTS, linucb, neural_linear_ucb
from agents.ranges import RANGES, number, whole, wholes

PARAMETERS = [
    (kind, name)
    for kind, entry in AGENTS.items()
    for name in list(inspect.signature(entry.factory).parameters)[1:]
    if name != "arm"
]


def test_every_parameter_has_a_range_that_holds_its_default():
    for kind, entry in AGENTS.items():
        for name, parameter in list(inspect.signature(entry.factory).parameters.items())[1:]:
            assert name in RANGES, (kind, name)
            assert parameter.default in (None, parameter.empty) or RANGES[name].holds(parameter.default), (kind, name)


@pytest.mark.parametrize(("kind", "name"), PARAMETERS)
def test_values_outside_are_refused_with_the_range(spec, kind, name):
    for bad in (math.nan, math.inf, -1, -0.5, "x", [-1], object):
        if RANGES[name].holds(bad) or bad is object:
            continue
        with pytest.raises(ValueError) as caught:
            AGENTS[kind](spec, **{name: bad})
        assert str(caught.value) == f"{kind}: {name} is {bad!r}, expected {RANGES[name].text}"


@pytest.mark.parametrize("bad", [-1, math.nan, True, "0.3", None, [0.1]])
def test_alpha(spec, bad):
    with pytest.raises(ValueError, match=r"linucb: alpha is .*, expected a number in \[0, inf\)"):
        linucb(spec, alpha=bad)
    with pytest.raises(ValueError, match=r"linucb: alpha is .*, expected a number in \[0, inf\)"):
        linucb(spec, bad)


def test_numbers_of_numpy_and_traced_ones_are_numbers(spec):
    linucb(spec, alpha=np.float32(0.5), warmup=np.int64(3))
    linucb(spec, alpha=jnp.asarray(0.5))
    jax.eval_shape(lambda alpha: linucb(spec, alpha=alpha).init(jax.random.key(0)), 0.5)
    neural_linear_ucb(spec, replay=None, hidden=[8])
    with pytest.raises(ValueError, match="alpha is"):
        linucb(spec, alpha=np.float64("nan"))


@given(st.floats(allow_nan=True) | st.integers() | st.booleans(), st.floats(-5, 5), st.floats(0, 5))
def test_intervals_are_what_they_say(value, low, width):
    high = low + width
    inside = not isinstance(value, bool) and math.isfinite(value) if isinstance(value, float) else True
    inside = inside and not isinstance(value, bool)
    assert number(f"[{low!r}, {high!r}]").holds(value) == (inside and low <= value <= high)
    assert number(f"({low!r}, {high!r})").holds(value) == (inside and low < value < high)
    assert whole(f"[{low!r}, inf)").holds(value) == (inside and isinstance(value, int) and value >= low)


@given(st.lists(st.integers(-3, 3) | st.floats(-3, 3)))
def test_lists_hold_whole_numbers(values):
    assert wholes("[0, inf)").holds(values) == all(isinstance(value, int) and value >= 0 for value in values)
