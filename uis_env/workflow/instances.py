"""Small simulated worlds on which the exact plan of a workflow is affordable."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.arms import Arm, ArmCatalog, arm_features
from uis_env.world import Channels, World

Array = NDArray[Any]
SPEEDS = (
    ("quick", 1, (1, 1, 1, 1), (0.8, 0.4)),
    ("steady", 4, (2, 2, 3, 5), (0.95, 0.7)),
    ("careful", 16, (3, 3, 6, 12), (0.98, 0.95)),
)
"""Method's nickname, samples, its seconds (four values, equally likely), chance to be right on easy and hard
queries."""


def uncertain_speeds(queries: int = 40, draws: int = 40, seed: int = 0) -> World:
    """A *simulated* world in which looking at what is left pays by construction.

    Three arms, quick, steady and careful; the better an arm, the longer it takes *and the less certain that is* (up to
    four times its shortest time), and a task that overruns is lost. A policy that does not see the seconds left must
    choose between overrunning on bad luck and wasting good luck. Half of the queries are hard; the context shows which,
    with noise. Seconds are whole numbers, so a plan with one unit per second is exact; tokens are 100 per sample.

    Args:
        queries: Q, half of them hard; even.
        draws: R, a multiple of 4 (the four durations occur equally often, successes in their share of R, rounded).
        seed: >= 0.

    Raises:
        ValueError: naming the argument that is out of range.
    """
    if queries < 2 or queries % 2:
        raise ValueError(f"queries is {queries}, expected an even number >= 2")
    if draws < 4 or draws % 4:
        raise ValueError(f"draws is {draws}, expected a multiple of 4")
    rng = np.random.default_rng([seed, 0])
    hard = np.arange(queries) % 2
    shape = (queries, draws, len(SPEEDS))
    chance = np.array([right for *_, right in SPEEDS]).T[hard]
    # Shares are exact, not drawn: queries of a kind differ in nothing but the order of their draws.
    quality = rng.permuted(np.arange(draws)[None, :, None] < np.rint(chance * draws)[:, None, :], axis=1)
    seconds = np.empty(shape)
    for k, (_, _, durations, _) in enumerate(SPEEDS):
        seconds[:, :, k] = rng.permuted(np.tile(np.repeat(durations, draws // 4), (queries, 1)), axis=1)
    tokens = np.broadcast_to([100.0 * samples for _, samples, *_ in SPEEDS], shape)
    arms = tuple(Arm("simulated", "best_of_n", (samples,)) for _, samples, *_ in SPEEDS)
    features, names = arm_features({}, {"log2_n": [np.log2(samples) for _, samples, *_ in SPEEDS]})
    channels = Channels(
        quality.astype(np.float32), tokens=tokens.astype(np.float32), latency=seconds.astype(np.float32)
    )
    shown = np.column_stack([2.0 * hard - 1 + 0.5 * rng.standard_normal(queries), np.ones(queries)])
    return World(
        name="UncertainSpeeds",
        simulated=True,
        catalog=ArmCatalog(arms, features, names, tuple(f"{name}, {n} samples" for name, n, *_ in SPEEDS)),
        contexts={"difficulty": shown.astype(np.float32)},
        channels=channels,
        expected=Channels(**{name: part.mean(axis=1) for name, part in channels.present().items()}),
        recorded=np.ones((queries, len(arms)), bool),
        query_ids=tuple(f"{('easy', 'hard')[h]}-{i}" for i, h in enumerate(hard)),
        groups=("all",) * queries,
        provenance={
            "source": "simulated by uis_env.workflow.instances; nothing was recorded",
            "expectation": f"mean over {draws} draws, which are the whole distribution",
            "speeds": [list(row) for row in SPEEDS],
        },
    )
