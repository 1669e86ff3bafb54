"""A simulated world with known parameters: item response theory over five models, and a verifier that can be fooled.

Nothing here was recorded. It is there to test learners against a known truth, and to show the effects that real
tables mix: heterogeneous success, cost, popular mistakes that win votes, convincing mistakes that win best-of-N.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uis_env.arms import Arm, ArmCatalog, arm_features
from uis_env.costs import ModelCard, Price, dollars
from uis_env.estimators import Returned
from uis_env.listing import public
from uis_env.pools import Pool
from uis_env.sampled import tabulate_pools
from uis_env.world import Channels, World, mean_ends

Array = NDArray[Any]


class Topic(NamedTuple):
    """A kind of query: how often a wrong sample convinces the verifier, and how often it is the popular mistake."""

    name: str
    convincing: float
    popular: float


@dataclass(frozen=True)
class Model:
    """A simulated model.

    Attributes:
        name: in the catalog.
        ability: θ of the item response model.
        affinity: added to θ, per topic.
        tokens: mean completion tokens of a query of average difficulty.
        seconds: per decoded token.
        price: USD per million tokens, a list price of November 2026 (see PRICES).
    """

    name: str
    ability: float
    affinity: tuple[float, ...]
    tokens: float
    seconds: float
    price: Price


PRICES = (
    "public list prices of November 2026: gpt-5-nano, gpt-5-mini, gpt-5, deepseek-chat, Qwen3-32B (models simulated)"
)
TOPICS = (
    Topic("math", convincing=0.02, popular=0.25),
    Topic("code", convincing=0.0, popular=0.1),
    Topic("facts", convincing=0.15, popular=0.3),
    Topic("puzzles", convincing=0.05, popular=0.8),
)
MODELS = (
    Model("sim-nano", -0.9, (0.0, 0.0, 0.3, -0.3), 300, 0.005, Price(0.05, 0.4, 0.005)),
    Model("sim-mini", 0.3, (0.1, 0.1, 0.2, -0.1), 400, 0.008, Price(0.25, 2.0, 0.025)),
    Model("sim-large", 1.4, (0.0, 0.0, 0.3, 0.3), 500, 0.02, Price(1.25, 10.0, 0.125)),
    Model("sim-math", -0.3, (2.2, -0.4, -1.5, 0.4), 900, 0.015, Price(0.28, 0.42, 0.028)),
    Model("sim-code", -0.2, (-0.5, 2.0, -1.0, -0.5), 450, 0.015, Price(0.9, 0.9, 0.09)),
)
BUDGETS = {"single": (1,), "best_of_n": (2, 4, 8, 16), "majority": (4, 8, 16)}
METHOD_TEXT = {
    "single": "one sample",
    "best_of_n": "{n} samples, the one the verifier scores highest",
    "majority": "{n} samples, the most frequent answer",
}
CORRECT, CONVINCING = 4.0, 200.0
"""Score exponents of correct and of convincing wrong samples; an ordinary wrong sample has 1."""
SHIFT = 0.5
"""A completion's length is its mean times SHIFT + (1 − SHIFT)·Exponential(1)."""
FIRST_TOKEN_SECONDS = 0.3
PROMPT_TOKENS = 250.0


def synthetic(
    queries: int = 400,
    draws: int = 16,
    seed: int = 0,
    difficulty: float = 1.2,
    discrimination: float = 0.2,
    concentration: float = 8.0,
    length: float = 0.5,
    noise: float = 0.3,
) -> World:
    """Simulates the world; the same arguments give the same world.

    Query q of topic t has difficulty b ~ N(0, difficulty²) and discrimination a ~ LogNormal(0, discrimination²). Model
    m answers a sample right with probability p ~ Beta(μκ, (1−μ)κ), μ = σ(a(θ_m + A_mt − b)), κ = concentration (2PL
    item response; the Beta residual is what no feature shows). A wrong sample is the topic's popular mistake with
    probability c_t, else an answer of its own, and convinces the verifier with probability h_t. A sample's score is
    U^(1/w), w = 4 if correct, 1 if wrong, 200 if wrong and convincing: the higher of several belongs to each in
    proportion to w. Where h_t > 0, quality of best-of-N first rises and then falls with N (over-optimisation).

    With `difficulty = discrimination = length = noise = 0` and `concentration = inf` an arm's expected reward depends
    on the topic alone, so it is linear in the context.

    Args:
        queries: Q, in topics of equal size.
        draws: R, fresh samples each.
        seed: >= 0.
        difficulty: standard deviation of b.
        discrimination: standard deviation of ln a.
        concentration: κ > 0; infinity makes p = μ.
        length: standard deviation of the log prompt length.
        noise: standard deviation of the error in the difficulty that the context shows.

    Raises:
        ValueError: naming the argument that is out of range.
    """
    for name, value in (("queries", queries), ("draws", draws)):
        if value < 1:
            raise ValueError(f"{name} is {value}, expected an integer >= 1")
    for name, spread in (
        ("seed", seed),
        ("difficulty", difficulty),
        ("discrimination", discrimination),
        ("length", length),
        ("noise", noise),
    ):
        if not (math.isfinite(spread) and spread >= 0):
            raise ValueError(f"{name} is {spread}, expected a finite number >= 0")
    if not concentration > 0:
        raise ValueError(f"concentration is {concentration}, expected a number > 0")

    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed])))
    topic = rng.permutation(np.arange(queries) % len(TOPICS))
    hardness = difficulty * rng.standard_normal(queries)
    slope = np.exp(discrimination * rng.standard_normal(queries))
    prompt = PROMPT_TOKENS * np.exp(length * rng.standard_normal(queries))
    seen = hardness + noise * rng.standard_normal(queries)
    ability = np.array([[model.ability + affinity for affinity in model.affinity] for model in MODELS])
    mean = 1 / (1 + np.exp(-slope[:, None] * (ability.T[topic] - hardness[:, None])))
    success = mean if math.isinf(concentration) else rng.beta(mean * concentration, (1 - mean) * concentration)

    lengths = [model.tokens * np.exp(0.25 * hardness) for model in MODELS]
    pools = tuple(
        _samples(rng, model, success[:, m], topic, tokens, prompt, draws)
        for m, (model, tokens) in enumerate(zip(MODELS, lengths, strict=True))
    )
    size = max(max(budgets) for budgets in BUDGETS.values())
    order = np.arange(draws * size, dtype=np.int32).reshape(1, draws, size).repeat(queries, axis=0)
    arms = [Arm(model.name, method, (n,)) for model in MODELS for method, budgets in BUDGETS.items() for n in budgets]
    place = {model.name: m for m, model in enumerate(MODELS)}

    def costs(arm: Arm, _: Pool, returned: Returned) -> Channels:
        return _costed(MODELS[place[arm.model]], prompt, returned)

    def expectation(arm: Arm, _: Pool) -> Returned:
        m = place[arm.model]
        return expected_return(success[:, m], topic, lengths[m], arm.method, arm.budget[0])

    orders = (order,) * len(pools)
    table = tabulate_pools(arms, pools, orders, costs, "Synthetic", expectation, halves=False)
    numbers = [topic, seen, np.log(prompt)]
    return World(
        name="Synthetic",
        simulated=True,
        catalog=_catalog(arms, table.expected),
        contexts=_contexts(rng, *numbers),
        channels=table.channels,
        expected=table.expected,
        recorded=table.recorded,
        query_ids=tuple(f"{TOPICS[t].name}/{q}" for q, t in enumerate(topic)),
        groups=tuple(TOPICS[t].name for t in topic),
        cost_ends=mean_ends(table.expected),
        defaults={"cost": 10.0, "cost_channel": "dollars"},
        provenance={
            "source": "simulated by uis_env.worlds.synthetic; nothing was recorded",
            "expectation": "exact for every arm and channel: closed forms given each query's success probabilities",
            "draws": "fresh samples in every draw; every method and budget of a model reads a prefix of them",
            "parameters": {
                "queries": queries,
                "draws": draws,
                "seed": seed,
                "difficulty": difficulty,
                "discrimination": discrimination,
                "concentration": concentration if math.isfinite(concentration) else "inf",
                "length": length,
                "noise": noise,
            },
            "topics": [topic._asdict() for topic in TOPICS],
            "models": [asdict(model) for model in MODELS],
            "prices": PRICES,
            "public": public((ModelCard(model.name, price=model.price) for model in MODELS), tokens=512),
            "contexts": "features: one-hot topic, seen difficulty, log prompt length, bias; noise: five standard "
            "normal numbers that tell nothing, bias",
        },
        pools=pools,
        orders=orders,
    )


def expected_return(success: Array, topic: Array, tokens: Array, method: str, n: int) -> Returned:
    """The exact expectation of a method at budget n; (Q,) each.

    Args:
        success: (Q,) probability that a sample is correct.
        topic: (Q,) index into TOPICS.
        tokens: (Q,) mean tokens of a sample.
        method: a key of BUDGETS.
        n: samples.
    """
    convincing = np.array([t.convincing for t in TOPICS])[topic]
    popular = np.array([t.popular for t in TOPICS])[topic]
    wrong = 1 - success
    quality, score = np.zeros(len(success)), np.zeros(len(success))
    if method == "majority":
        for chance, right, same, _ in _multinomial(n, success, wrong * popular, wrong * (1 - popular)):
            most = max(right, same)  # where no answer has two votes, all n are tied
            quality += chance * (right / n if most <= 1 else (right > same) + (right == same) / 2)
        # Whether a sample convinces does not depend on its answer, so the winner's mean score has no selection.
        doubt = (1 - convincing) * _mean_score(1.0) + convincing * _mean_score(CONVINCING)
        score = quality * _mean_score(CORRECT) + (1 - quality) * doubt
    else:
        parts = _multinomial(n, success, wrong * convincing, wrong * (1 - convincing))
        for chance, right, fooling, plain in parts:
            weight = CORRECT * right + CONVINCING * fooling + plain
            quality += chance * CORRECT * right / weight
            score += chance * _mean_score(weight)  # the greatest of U^(1/w) is U^(1/sum of w)
    spread = 1 - SHIFT
    longest = SHIFT + spread * sum(1 / k for k in range(1, n + 1))
    return Returned(quality, score, n * tokens, n * tokens**2 * (1 + spread**2), tokens * longest)


def _multinomial(n: int, first: Array, second: Array, third: Array) -> Iterator[tuple[Array, int, int, int]]:
    """Yields (chance, i, j, n − i − j) over the counts of three kinds of samples with the given probabilities."""
    for i in range(n + 1):
        for j in range(n - i + 1):
            k = n - i - j
            ways = math.comb(n, i) * math.comb(n - i, j)
            yield ways * first**i * second**j * third**k, i, j, k


def _mean_score(weight: float) -> float:
    return weight / (weight + 1)


def _samples(
    rng: np.random.Generator, model: Model, success: Array, topic: Array, tokens: Array, prompt: Array, draws: int
) -> Pool:
    """R·S samples of one model on every query: S of them, fresh, for each draw."""
    size = max(max(budgets) for budgets in BUDGETS.values())
    rows = len(success) * draws

    def at(values: Array) -> Array:
        return np.repeat(values, draws)[:, None]

    correct = rng.random((rows, size)) < at(success)
    popular = rng.random((rows, size)) < at(np.array([t.popular for t in TOPICS])[topic])
    convincing = rng.random((rows, size)) < at(np.array([t.convincing for t in TOPICS])[topic])
    weight = np.where(correct, CORRECT, np.where(convincing, CONVINCING, 1.0))
    own = np.tile(2 + np.arange(draws * size).reshape(draws, size), (len(success), 1))
    score = rng.random((rows, size)) ** (1 / weight)
    length = at(tokens) * (SHIFT + (1 - SHIFT) * rng.standard_exponential((rows, size)))
    answer = np.where(correct, 0, np.where(popular, 1, own)).astype(np.int32)

    def per_query(table: Array) -> Array:
        return table.reshape(len(success), draws * size)

    return Pool(
        model=model.name,
        style="",
        answer=per_query(answer),
        correct=per_query(correct.astype(np.float64)),
        score=per_query(score),
        tokens=per_query(length),
        prompt=prompt,
        cached=np.zeros_like(prompt),
        prefill_ms=1000 * FIRST_TOKEN_SECONDS / prompt,
        decode_ms=np.full_like(prompt, 1000 * model.seconds),
    )


def _costed(model: Model, prompt: Array, returned: Returned) -> Channels:
    """Adds dollars and seconds: the prompt once, all samples' tokens, the longest of parallel samples."""
    each = prompt.reshape(-1, *[1] * (returned.quality.ndim - 1))
    return Channels(
        quality=returned.quality,
        score=returned.score,
        dollars=dollars(model.price, each, 0, returned.tokens),
        tokens=returned.tokens,
        latency=FIRST_TOKEN_SECONDS + model.seconds * returned.steps,
    )


def _contexts(rng: np.random.Generator, topic: Array, seen: Array, log_prompt: Array) -> dict[str, Array]:
    bias = np.ones((len(topic), 1))
    onehot = topic[:, None] == np.arange(len(TOPICS))
    length = log_prompt[:, None] - math.log(PROMPT_TOKENS)
    return {
        "features": np.hstack([onehot, seen[:, None], length, bias]).astype(np.float32),
        "noise": np.hstack([rng.standard_normal((len(topic), 5)), bias]).astype(np.float32),
    }


def _catalog(arms: list[Arm], expected: Channels) -> ArmCatalog:
    cards = {model.name: model for model in MODELS}
    assert expected.tokens is not None
    features, names = arm_features(
        labels={"model": [arm.model for arm in arms], "method": [arm.method for arm in arms]},
        numbers={
            "log2_n": np.log2([arm.budget[0] for arm in arms]),
            "log_price": np.log([cards[arm.model].price.output for arm in arms]),
            "expected_tokens": expected.tokens.astype(np.float64).mean(axis=0),
        },
    )
    return ArmCatalog(
        arms=tuple(arms),
        features=features,
        feature_names=names,
        descriptions=tuple(
            f"simulated model {arm.model}, USD {cards[arm.model].price.output:g} per million tokens; "
            f"{METHOD_TEXT[arm.method].format(n=arm.budget[0])}"
            for arm in arms
        ),
    )
