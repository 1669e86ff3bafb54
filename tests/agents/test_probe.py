"""The accuracy probe: calibration on held-out queries, preferences, masks, learning online, Platt scaling,
reliability."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import Array

from agents.agent import Agent, FullInformation
from agents.check import example_log
from agents.handed import make_feedback, make_full_information, make_observation
from agents.probe import platt, probe, probe_online, reliability
from agents.spec import Spec
from uis_env.world import Channels
from uis_env.worlds.latency_aware.calibrate import sample
from uis_env.worlds.latency_aware.fits import FITS
from uis_env.worlds.latency_aware.world import make_catalog, query_features

SMALL: dict[str, Any] = {"hidden": (16,), "epochs": 8, "batch": 32}
PLATT = jax.jit(platt)
QUALITY = (1.0, 0.0, 0.0, 0.0, 0.0)


class Simulated(NamedTuple):
    """Queries of the simulated world, train and test: contexts, and quality, tokens and seconds per draw."""

    spec: Spec
    context: np.ndarray[Any, Any]
    quality: np.ndarray[Any, Any]
    tokens: np.ndarray[Any, Any]
    latency: np.ndarray[Any, Any]


@cache
def simulated() -> Simulated:
    queries, results = sample(FITS["math500"], 20, 2600, 4)
    catalog = make_catalog()
    ids = np.zeros(len(catalog), np.int32)
    spec = Spec(
        arms=len(catalog),
        context=32,
        features=catalog.features,
        model=ids,
        method=ids,
        budget=ids,
        log_budget=ids.astype(np.float32),
        list_cost=ids.astype(np.float32),
        list_quality=ids.astype(np.float32),
        channels=("quality", "tokens", "latency"),
        horizon=1000,
    )
    return Simulated(spec, query_features(queries, np.random.default_rng(0)), *results)


def pilot(data: Simulated, queries: slice, quality: Any = None) -> FullInformation:
    """One draw of every arm on some queries."""
    quality = data.quality[queries, 0] if quality is None else quality
    none = jnp.zeros(quality.shape)
    return make_full_information(
        context=jnp.asarray(data.context[queries]),
        mask=jnp.ones(quality.shape, bool),
        preference=jnp.asarray(QUALITY),
        prices=jnp.ones(1),
        reward=jnp.asarray(quality),
        cost=none,
        channels=Channels(quality, tokens=data.tokens[queries, 0], latency=data.latency[queries, 0]),
    )


def scores(agent: Agent, state: Any, spec: Spec, contexts: Any, preference: Any = QUALITY) -> np.ndarray[Any, Any]:
    """(n, K): with the weight on quality alone, the predicted probabilities."""
    models = int(spec.model.max()) + 1

    def one(x: Array) -> Array:
        seen = make_observation(
            jnp.int32(0), x, jnp.ones(spec.arms, bool), jnp.asarray(preference, jnp.float32), jnp.ones(models)
        )
        return agent.act(jax.random.key(0), state, seen).scores

    return np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(contexts)))


@pytest.fixture(scope="module")
def trained() -> tuple[Agent, Any]:
    data = simulated()
    agent = probe(data.spec)
    assert agent.fit is not None
    key = jax.random.key(1)
    return agent, jax.jit(agent.fit)(key, agent.init(key), pilot(data, slice(0, 2000)))


def test_calibrated_on_held_out_queries(trained: tuple[Agent, Any]) -> None:
    data = simulated()
    test = slice(2000, 2600)
    p = scores(*trained, data.spec, data.context[test])
    quality = data.quality[test].mean(axis=1)
    diagram = reliability(p, quality)
    assert diagram.error < 0.05
    assert (diagram.outcomes > 100).sum() >= 5  # it says different things of different queries
    base = data.quality[:2000].mean(axis=(0, 1))

    def entropy(p: Any) -> float:
        return float(-(quality * np.log(p) + (1 - quality) * np.log(1 - p)).mean())

    assert entropy(p) < entropy(np.broadcast_to(base, p.shape)) - 0.01
    arms = np.abs(p.mean(axis=0) - quality.mean(axis=0))
    assert arms.max() < 0.06


def test_one_probe_serves_every_preference(trained: tuple[Agent, Any]) -> None:
    data = simulated()
    agent, state = trained
    contexts = data.context[2000:2100]
    p = scores(agent, state, data.spec, contexts)
    tokens, seconds = (array[:2000, 0].mean(axis=0) for array in (data.tokens, data.latency))
    for weight, channel, mean in ((3, 1e-5, tokens), (4, 1e-2, seconds)):
        preference = np.array(QUALITY)
        preference[weight] = channel
        priced = scores(agent, state, data.spec, contexts, preference)
        np.testing.assert_allclose(p - priced, np.broadcast_to(channel * mean, p.shape), rtol=1e-3, atol=1e-5)
    dear = scores(agent, state, data.spec, contexts, (1.0, 0.0, 0.0, 1e-3, 1.0))
    assert set(dear.argmax(axis=1).tolist()) <= {0, 5, 10}  # two samples, when tokens and seconds weigh most
    free = scores(agent, state, data.spec, contexts, (1.0, 0.0, 0.0, 1e-7, 1e-5))
    assert data.quality[2000:2100].mean(axis=(0, 1))[free.argmax(axis=1)].mean() > 0.75


def test_without_a_pilot_all_arms_look_alike(spec: Spec) -> None:
    agent = probe(spec, **SMALL)
    seen = make_observation(
        jnp.int32(0), jnp.ones(spec.context), jnp.ones(spec.arms, bool), jnp.asarray(QUALITY), jnp.ones(3)
    )
    choice = agent.act(jax.random.key(0), agent.init(jax.random.key(0)), seen)
    np.testing.assert_allclose(choice.propensities, 1 / spec.arms, rtol=1e-6)


def test_outcomes_that_were_not_recorded_do_not_matter() -> None:
    data = simulated()
    agent = probe(data.spec, **SMALL)
    fit = jax.jit(agent.fit)  # type: ignore[arg-type]
    part = slice(0, 60)
    mask = np.random.default_rng(0).random((60, data.spec.arms)) < 0.5
    states = []
    for hidden in (0.0, 1.0):
        log = pilot(data, part, np.where(mask, data.quality[part, 0], hidden).astype(np.float32))
        channels = log.channels._replace(tokens=jnp.where(mask, log.channels.tokens, hidden))
        log = log._replace(mask=jnp.asarray(mask), channels=channels)
        states.append(fit(jax.random.key(0), agent.init(jax.random.key(0)), log))
    for a, b in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_online_probe_starts_as_the_probe_and_follows_a_change() -> None:
    data = simulated()
    options = {"hidden": (32,), "epochs": 5}
    still, moving = probe(data.spec, **options), probe_online(data.spec, **options, replay=256, every=20, steps=30)
    assert still.fit is not None and moving.fit is not None
    key = jax.random.key(3)
    log = pilot(data, slice(0, 300))
    start, state = (jax.jit(agent.fit)(key, agent.init(key), log) for agent in (still, moving))
    contexts = data.context[2000:2050]
    before = scores(moving, state, data.spec, contexts)
    np.testing.assert_array_equal(before, scores(still, start, data.spec, contexts))

    arm = 21  # beam search 32x4x40: now it is always wrong, and takes three times as long

    def round_(state: Any, t: Array) -> tuple[Any, None]:
        seen = make_observation(
            t, jnp.asarray(data.context)[t], jnp.ones(data.spec.arms, bool), jnp.asarray(QUALITY), jnp.ones(1)
        )
        channels = Channels(jnp.float32(0), tokens=jnp.float32(1e4), latency=jnp.float32(300))
        feedback = make_feedback(seen, arm, jnp.float32(0), jnp.float32(0), channels)
        return moving.update(jax.random.fold_in(key, t), state, feedback), None

    play = jax.jit(round_)
    early = state
    for t in range(19):
        early, _ = play(early, jnp.int32(t))
    np.testing.assert_array_equal(scores(moving, early, data.spec, contexts), before)
    late = early
    for t in range(19, 200):
        late, _ = play(late, jnp.int32(t))
    after = scores(moving, late, data.spec, contexts)
    assert after[:, arm].mean() < before[:, arm].mean() - 0.3
    slow = before - scores(moving, late, data.spec, contexts, (1.0, 0, 0, 0, 1e-3))
    assert (slow[:, arm] > 0.1).all()
    assert still.update(key, start, None) is start  # type: ignore[arg-type]


def test_settings_are_checked(spec: Spec) -> None:
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="held_out"):
            probe(spec, held_out=share)


@settings(max_examples=25, deadline=None)
@given(slope=st.floats(0.3, 3.0), shift=st.floats(-2.0, 2.0), seed=st.integers(0, 1000))
def test_platt_finds_the_scaling(slope: float, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, 400)
    soft = 1 / (1 + np.exp(-(slope * logits + shift)))
    with jax.enable_x64(True):
        found = PLATT(jnp.asarray(logits), jnp.asarray(soft), jnp.ones(400), shrinkage=1e-6)
        np.testing.assert_allclose(found, (slope, shift), atol=1e-5)
        hard = (rng.random(400) < soft).astype(float)
        weight = (rng.random(400) < 0.7).astype(float)
        a, b = (float(x) for x in PLATT(jnp.asarray(logits), jnp.asarray(hard), jnp.asarray(weight), shrinkage=3.0))
    residual = weight * (1 / (1 + np.exp(-(a * logits + b))) - hard)
    assert abs(residual.sum() + 3 * b) < 1e-6 and abs(residual @ logits + 3 * (a - 1)) < 1e-6  # the posterior's mode


def test_platt_survives_separable_outcomes() -> None:
    logits, quality, weight = (jnp.asarray(x) for x in ([-2.0, -1.0, 1.0, 2.0], [0.0, 0, 1, 1], [1.0] * 4))
    loose, tight = (PLATT(logits, quality, weight, shrinkage=s) for s in (1e-2, 10.0))
    assert 2 < float(loose[0]) < 100 and 1 < float(tight[0]) < 1.5
    assert abs(float(loose[1])) < 1e-3 and abs(float(tight[1])) < 1e-3


def test_reliability_by_hand() -> None:
    diagram = reliability([0.05, 0.15, 0.15, 1.0], [0.0, 1.0, 0.0, 1.0])
    assert diagram.outcomes.tolist() == [1, 2, *[0] * 6, 0, 1]
    np.testing.assert_allclose(diagram.observed[[0, 1, 9]], (0, 0.5, 1))
    assert diagram.error == pytest.approx((0.05 + 2 * 0.35 + 0) / 4)
    p = np.random.default_rng(0).random((50, 4))
    assert reliability(p, p).error == pytest.approx(0)
    for wrong in (([0.5], [0.5, 0.5]), ([1.2], [0.5]), ([0.5], [-1.0]), ([], [])):
        with pytest.raises(ValueError, match=r"expected|leave"):
            reliability(*wrong)


def test_a_feature_that_never_varied_in_the_pilot_keeps_its_scale(spec):
    """The mean of equal numbers is not exactly that number: their deviation is rounding."""
    agent, log = probe(spec, hidden=(4,), epochs=1), example_log(spec, 100)
    log = log._replace(context=log.context.at[:, 0].set(0.1))
    state = agent.fit(jax.random.key(0), agent.init(jax.random.key(0)), log)
    assert float(state.scaling.deviation[0]) == 1.0
    assert (state.scaling.deviation[1:] != 1.0).all()
