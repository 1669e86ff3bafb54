"""The numbers of a sweep, one row per policy and preference, configuration, or comparison: columns of the CSV files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from agents.probe import reliability
from experiments.entrants import predicts_quality
from experiments.sweeps import measures
from experiments.sweeps.measures import AXES, Sweep, curve, kinds
from uis_env.worlds.latency import latency_percentiles


class PointRow(NamedTuple):
    """A policy at a preference: means over the questions with intervals over questions and seeds.

    p50, p95 and p99 are of the seconds that its rounds took, as drawn; empty for references.
    """

    world: str
    simulated: int
    policy: str
    preference: str
    weight_tokens: float
    weight_latency: float
    reward: float
    accuracy: float
    accuracy_lo: float
    accuracy_hi: float
    tokens: float
    tokens_lo: float
    tokens_hi: float
    seconds: float
    seconds_lo: float
    seconds_hi: float
    p50: float
    p95: float
    p99: float


class ArmRow(NamedTuple):
    """A static configuration on the same questions; what was published of it, where it was."""

    world: str
    simulated: int
    arm: str
    method: str
    accuracy: float
    accuracy_lo: float
    accuracy_hi: float
    tokens: float
    tokens_lo: float
    tokens_hi: float
    seconds: float
    seconds_lo: float
    seconds_hi: float
    p50: float
    p95: float
    p99: float
    published_accuracy: float
    published_tokens: float
    published_seconds: float


class ShareRow(NamedTuple):
    """Which share of its rounds a policy gives to a method, or to a number of samples."""

    world: str
    simulated: int
    policy: str
    preference: str
    weight_tokens: float
    weight_latency: float
    by: str
    label: str
    share: float


class AreaRow(NamedTuple):
    """Accuracy of a policy's frontier minus the frontier of all static configurations, at equal tokens or seconds.

    The mean over [low, high], evenly in the logarithm.
    """

    world: str
    simulated: int
    policy: str
    axis: str
    low: float
    high: float
    difference: float
    difference_lo: float
    difference_hi: float


class EqualRow(NamedTuple):
    """Accuracy of a policy's frontier minus one static configuration's, at that one's tokens or seconds (`at`)."""

    world: str
    simulated: int
    policy: str
    arm: str
    axis: str
    at: float
    difference: float
    difference_lo: float
    difference_hi: float


class CalibrationRow(NamedTuple):
    """Expected calibration error of what a probe predicts on questions that it was not trained on, mean over seeds."""

    world: str
    simulated: int
    policy: str
    queries: int
    error: float
    error_least: float
    error_most: float


def point_rows(sweep: Sweep) -> Iterator[PointRow]:
    """One row per policy and preference."""
    for name, policy in sweep.policies.items():
        low, high = policy.ends
        played = name in sweep.agents
        tails = sweep.tail(name) if played else np.full((len(sweep.game.preferences), 3), np.nan)
        for i, preference in enumerate(sweep.game.preferences):
            mean = policy.mean[i]
            reward = preference.quality * mean[0] - preference.tokens * mean[1] - preference.latency * mean[2]
            values = (float(v) for j in range(3) for v in (mean[j], low[i, j], high[i, j]))
            yield PointRow(
                *facts(sweep), name, preference.name, preference.tokens, preference.latency, float(reward),
                *values, *map(float, tails[i]),
            )  # fmt: skip


def arm_rows(sweep: Sweep) -> Iterator[ArmRow]:
    """One row per static configuration."""
    world = sweep.game.world
    mean, (low, high) = sweep.static.mean, sweep.static.ends
    tails = (
        latency_percentiles(world) if world.channels.latency is not None else np.full((len(world.catalog), 3), np.nan)
    )
    published = world.provenance.get("published", {})
    for i, arm in enumerate(sweep.arms):
        known = world.catalog.arms[arm]
        values = (float(v) for j in range(3) for v in (mean[i, j], low[i, j], high[i, j]))
        told = published.get(known.name, (float("nan"),) * 3)
        yield ArmRow(*facts(sweep), known.name, known.recipe, *values, *map(float, tails[arm]), *map(float, told))


def share_rows(sweep: Sweep) -> Iterator[ShareRow]:
    """One row per policy that chooses arms, preference, and method or number of samples."""
    for name, policy in sweep.policies.items():
        if policy.arm is None:
            continue
        for by, labels in kinds(sweep.game).items():
            shares = np.stack([policy.shares(arms).mean(axis=(0, 1)) for _, arms in labels])
            for i, preference in enumerate(sweep.game.preferences):
                for (label, _), share in zip(labels, shares[:, i], strict=True):
                    yield ShareRow(
                        *facts(sweep), name, preference.name, preference.tokens, preference.latency, by, label,
                        float(share),
                    )  # fmt: skip


def area_rows(sweep: Sweep) -> Iterator[AreaRow]:
    """One row per policy and axis."""
    for axis in AXES:
        static = curve(sweep.static, axis)
        for name, policy in sweep.policies.items():
            if name == "random" or not len(sweep.along(axis)):
                continue
            found = measures.area(curve(policy, axis, sweep.along(axis)), static)
            yield AreaRow(*facts(sweep), name, axis, found.low, found.high, *found.difference)


def equal_rows(sweep: Sweep) -> Iterator[EqualRow]:
    """One row per agent, static configuration and axis."""
    for axis in AXES:
        static = curve(sweep.static, axis)
        for name in sweep.agents:
            policy = sweep.policies[name]
            if not len(sweep.along(axis)):
                continue
            found = measures.equal(curve(policy, axis, sweep.along(axis)), static)
            for arm, at, difference in zip(sweep.arms, static.points[:, 0], found, strict=True):
                yield EqualRow(
                    *facts(sweep), name, sweep.game.world.catalog.arms[arm].name, axis, float(at), *difference
                )


def calibration_rows(sweep: Sweep) -> Iterator[CalibrationRow]:
    """One row per agent that is a probe."""
    for name in sweep.agents:
        told = sweep.believed(name)
        if told is None or not predicts_quality(sweep.entrants[name].kind):
            continue
        believed, quality = told
        errors = [reliability(np.clip(own, 0.0, 1.0), quality).error for own in believed]
        yield CalibrationRow(
            *facts(sweep), name, len(sweep.game.training), float(np.mean(errors)), min(errors), max(errors)
        )


def facts(sweep: Sweep) -> tuple[str, int]:
    """The world's name in the config, and whether it is simulated."""
    return sweep.game.key.world, int(sweep.game.world.simulated)
