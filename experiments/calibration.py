"""`python -m experiments calibration`: reliability diagrams of the accuracy probe on held-out queries.

On the *simulated* latency-aware queries, per data set and seed: fresh queries, the probe trained on one outcome of
every configuration of the training queries, and its predictions on held-out queries beside what came out there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from agents.agent import FullInformation
from agents.handed import make_full_information, make_observation
from agents.probe import Reliability, probe, reliability
from agents.spec import spec_of
from experiments import backend, html
from experiments.charts import Line, chart
from experiments.config import ConfigError
from uis_env.bandit import Reward
from uis_env.files import atomic_write
from uis_env.world import Channels
from uis_env.worlds.latency_aware.calibrate import sample
from uis_env.worlds.latency_aware.fits import FITS
from uis_env.worlds.latency_aware.world import EMBEDDING, make_catalog, query_features

Array = NDArray[Any]
DRAWS = 4
"""Draws of every configuration per query: the probe sees the first, held-out queries are judged by the mean."""
REQUIRED = 0.05
QUALITY = (1.0, 0.0, 0.0, 0.0, 0.0)
"""A preference for quality alone: the probe's scores are then its predictions."""
FIRST_SEED = 100


class Simulated(NamedTuple):
    """Fresh queries: contexts (n, D), and quality, tokens and seconds (n, R, K)."""

    context: Array
    quality: Array
    tokens: Array
    latency: Array

    def full(self, queries: slice) -> FullInformation:
        """The first draw of every arm on some queries."""
        quality, tokens, latency = (table[queries, 0] for table in (self.quality, self.tokens, self.latency))
        return make_full_information(
            context=self.context[queries],
            mask=np.ones(quality.shape, bool),
            preference=QUALITY,
            prices=np.ones(1, np.float32),
            reward=quality,
            cost=np.zeros_like(quality),
            channels=Channels(quality, tokens=tokens, latency=latency),
        )


def simulated(dataset: str, seed: int, queries: int) -> Simulated:
    """Fresh queries of a data set: other ones than the world was calibrated with, or is played with."""
    drawn, results = sample(FITS[dataset], seed, queries, DRAWS)
    return Simulated(query_features(drawn, np.random.default_rng(seed)), *results)


def measure(dataset: str, seed: int, training: int = 2000, held_out: int = 2000) -> Reliability:
    """Trains a probe on `training` fresh queries and judges it on `held_out` others."""
    data = simulated(dataset, seed, training + held_out)
    fit, predict = _probe()
    predicted = predict(fit(jax.random.key(seed), data.full(slice(training))), data.context[training:])
    return reliability(np.clip(predicted, 0, 1), data.quality[training:].mean(axis=1))


@cache
def _probe() -> tuple[Any, Any]:
    """Compiled once: (key, FullInformation) -> state, and (state, contexts (n, D)) -> (n, K) predictions."""
    catalog = make_catalog()
    nothing = np.zeros(len(catalog))
    spec = spec_of(
        catalog, Reward(), 1, context=EMBEDDING + 2, channels=("quality", "tokens", "latency"), list_cost=nothing
    )
    agent = probe(spec)
    assert agent.fit is not None
    fit, preference = agent.fit, jnp.asarray(QUALITY)

    def predict(state: Any, context: jax.Array) -> jax.Array:
        seen = make_observation(0, context, jnp.ones(spec.arms, bool), preference, jnp.ones(1))
        return agent.act(jax.random.key(0), state, seen).scores

    return jax.jit(lambda key, full: fit(key, agent.init(key), full)), jax.jit(jax.vmap(predict, (None, 0)))


def command(out: Path, seeds: int = 5, training: int = 2000, held_out: int = 2000) -> int:
    """Measures both data sets; writes `calibration.json` and `calibration.html`, the diagrams, to `out`.

    Raises:
        ConfigError: if there is no seed, or too few queries.
    """
    if seeds < 1 or training < 10 or held_out < 10:
        raise ConfigError(f"{seeds} seeds, {training} and {held_out} queries: expected 1 seed and 10 queries, or more")
    backend.configure()
    console = Console()
    found: dict[str, list[Reliability]] = {}
    for dataset in FITS:
        chosen = range(FIRST_SEED, FIRST_SEED + seeds)
        found[dataset] = [measure(dataset, seed, training, held_out) for seed in chosen]
        console.print(f"{dataset} (simulated): {told(found[dataset])}", highlight=False)
    plain = {
        "simulated": True,
        "training_queries": training,
        "held_out_queries": held_out,
        "draws": DRAWS,
        "first_seed": FIRST_SEED,
        "required": REQUIRED,
        "columns": ["outcomes", "predicted", "observed"],
        "expected_calibration_error": {name: [one.error for one in own] for name, own in found.items()},
        "bins": {name: [bins(one).tolist() for one in own] for name, own in found.items()},
    }
    atomic_write(out / "calibration.json", (json.dumps(plain, indent=1) + "\n").encode())
    atomic_write(out / "calibration.html", page(found, training, held_out).encode())
    return 0


def bins(diagram: Reliability) -> Array:
    """(B, 3) outcomes, predicted and observed of the bins that are not empty."""
    return np.stack(diagram, axis=1)[diagram.outcomes > 0]


def told(diagrams: Sequence[Reliability]) -> str:
    """The errors of some seeds in a line."""
    errors = [diagram.error for diagram in diagrams]
    return (
        f"expected calibration error {np.mean(errors):.3f} ({min(errors):.3f} to {max(errors):.3f} over {len(errors)} "
        f"seeds); required below {REQUIRED:g}: {'yes' if max(errors) < REQUIRED else 'no'}"
    )


def page(found: Mapping[str, Sequence[Reliability]], training: int, held_out: int) -> str:
    """A page with a reliability diagram per data set: a line per seed, and where predictions would be right."""
    ends = np.array([0.0, 1.0])
    drawn = []
    for dataset, diagrams in found.items():
        lines = [Line("as predicted", ends, ends)]
        lines += [Line(f"seed {FIRST_SEED + i}", *bins(one)[:, 1:].T) for i, one in enumerate(diagrams)]
        svg = chart(lines, "predicted quality", "observed quality")
        drawn.append(html.Figure(f"{dataset} (simulated)", svg, told(diagrams)))
    lead = (
        f'<p class="sub">The probe was trained on one outcome of every configuration of {training:,} queries, and '
        f"judged on {held_out:,} others. All queries are <b>simulated</b>.</p>"
    )
    title = "Calibration of the accuracy probe (simulated)"
    return html.document(title, "Unified Inference Scaling", title, lead, html.figures(drawn))
