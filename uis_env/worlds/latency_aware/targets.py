"""The published numbers (arXiv 2509.09864) that the latency-aware world is calibrated to, and the 22 configurations."""

from __future__ import annotations

from dataclasses import dataclass

from uis_env.arms import Arm

MODEL = "qwen2.5-1.5b-instruct"
"""The generator; the verifier is Qwen2.5-Math-PRM-7B."""
SIZES = (2, 4, 8, 16, 32)
"""N of majority voting and of best-of-N."""
PARALLEL = ("majority", "best_of_n", "weighted_best_of_n")
"""Three aggregations of the same N samples."""
BEAMS = ((2, 2, 40), (4, 2, 40), (8, 4, 20), (16, 2, 40), (16, 4, 20), (32, 2, 20), (32, 4, 40))
"""(N, width, max steps): N candidates a step, `width` of them from each of the N / width kept paths."""
ARMS = (
    *(Arm(MODEL, method, (size,)) for method in PARALLEL for size in SIZES),
    *(Arm(MODEL, "beam_search", budget) for budget in BEAMS),
)
"""The 22 configurations in the order of the actions: majority, naive and weighted best-of-N, beam search."""
RUNS = 10
"""Runs behind each published mean: all fifteen MATH-500 accuracies of parallel methods are multiples of 1/5000, so 500
questions were run 10 times (inferred from the numbers; the source does not say). Taken for beam search as well."""


@dataclass(frozen=True)
class Target:
    """One published table.

    Attributes:
        accuracy, tokens, seconds: by configuration; a configuration that is not in the table has no entry.
        oracle: accuracy, tokens and seconds of the per-query best configuration, selected and valued on the same runs.
    """

    accuracy: dict[Arm, float]
    tokens: dict[Arm, float]
    seconds: dict[Arm, float]
    oracle: tuple[float, float, float]


def _target(
    parallel: dict[int, tuple[float, float, float, float, float, float]],
    beams: dict[tuple[int, int, int], tuple[float, float, float]],
    oracle: tuple[float, float, float],
) -> Target:
    """From rows N: (majority, naive, weighted accuracy, tokens, majority seconds, best-of-N seconds) and beam rows."""
    accuracy, tokens, seconds = {}, {}, {}
    for size, (majority, naive, weighted, used, fast, slow) in parallel.items():
        rows = zip(PARALLEL, (majority, naive, weighted), (fast, slow, slow), strict=True)
        for method, value, took in rows:
            arm = Arm(MODEL, method, (size,))
            accuracy[arm], tokens[arm], seconds[arm] = value, used, took
    for budget, (value, used, took) in beams.items():
        arm = Arm(MODEL, "beam_search", budget)
        accuracy[arm], tokens[arm], seconds[arm] = value, used, took
    return Target(accuracy, tokens, seconds, oracle)


TARGETS = {
    "math500": _target(
        {
            2: (0.4220, 0.5278, 0.5278, 972, 2.95, 3.06),
            4: (0.5138, 0.6062, 0.6052, 1988, 3.07, 3.28),
            8: (0.6000, 0.6544, 0.6644, 4007, 3.84, 4.32),
            16: (0.6472, 0.6744, 0.7030, 7976, 4.70, 5.79),
            32: (0.6578, 0.6582, 0.7016, 15810, 5.79, 8.09),
        },
        {
            (2, 2, 40): (0.4048, 1295, 5.83),
            (4, 2, 40): (0.6381, 2649, 7.51),
            (8, 4, 20): (0.7298, 7010, 15.66),
            (16, 4, 20): (0.7992, 14153, 26.60),
            (32, 2, 20): (0.8222, 31614, 54.75),
        },
        (0.8801, 7041, 9.5),
    ),
    "numina": _target(
        {
            2: (0.2611, 0.3115, 0.3115, 1164, 3.21, 3.33),
            4: (0.3107, 0.3450, 0.3450, 2341, 3.83, 4.08),
            8: (0.3460, 0.3610, 0.3680, 4682, 4.42, 4.97),
            16: (0.3650, 0.3690, 0.3810, 9376, 5.04, 6.22),
            32: (0.3780, 0.3760, 0.3920, 18766, 6.25, 8.86),
        },
        {
            (2, 2, 40): (0.3290, 1484, 5.85),
            (4, 2, 40): (0.376, 3566, 10.51),
            (8, 4, 20): (0.422, 7119, 13.95),
            (16, 4, 20): (0.450, 15332, 24.46),
            (16, 2, 40): (0.435, 21466, 42.91),
            (32, 2, 20): (0.467, 34825, 49.41),
            (32, 4, 40): (0.478, 49159, 92.09),
        },
        (0.5788, 5799, 9.4),
    ),
}
"""Published means. The MATH-500 table lists beam search by N alone; which width and steps stand behind N = 16 and 32 is
inferred (the ratios of tokens and of seconds to NuminaMath agree with those of N = 8 for these two and for no other),
so two of its seven beam configurations have no target. NuminaMath accuracies with three digits were read off a figure
(±0.003). Its oracle covers about 1,505 questions, its other rows about 1,000."""
