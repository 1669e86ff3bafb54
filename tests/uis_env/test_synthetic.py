import itertools
import math

import numpy as np
import pytest

from uis_env.bandit import Phase, Reward, tabulate
from uis_env.worlds import load, synthetic
from uis_env.worlds.synthetic import CONVINCING, CORRECT, MODELS, TOPICS, expected_return


@pytest.fixture(scope="module")
def world():
    return load("Synthetic")


def by_hand(p, topic, method, n):
    """(quality, score) over every sequence of n samples; a kind is (chance, answer, weight)."""
    h, c = TOPICS[topic].convincing, TOPICS[topic].popular
    kinds = [(p, "right", CORRECT)]
    for answer, chance in (("popular", c), ("own", 1 - c)):
        kinds += [((1 - p) * chance * h, answer, CONVINCING), ((1 - p) * chance * (1 - h), answer, 1.0)]
    quality = score = 0.0
    for samples in itertools.product(kinds, repeat=n):
        chance = math.prod(sample[0] for sample in samples)
        weights = [sample[2] for sample in samples]
        if method != "majority":
            # the greatest of U^(1/w) is each with probability w / sum(w), whatever its value
            quality += chance * sum(w for _, answer, w in samples if answer == "right") / sum(weights)
            score += chance * sum(weights) / (sum(weights) + 1)
            continue
        answers = [f"own{i}" if answer == "own" else answer for i, (_, answer, _) in enumerate(samples)]
        most = max(map(answers.count, answers))
        leaders = sorted({answer for answer in answers if answers.count(answer) == most})
        for leader in leaders:
            means = [w / (w + 1) for answer, w in zip(answers, weights, strict=True) if answer == leader]
            quality += chance * (leader == "right") / len(leaders)
            score += chance * sum(means) / len(means) / len(leaders)
    return quality, score


@pytest.mark.parametrize(("method", "n"), [("single", 1), ("best_of_n", 2), ("best_of_n", 4), ("majority", 4)])
def test_closed_forms_by_enumeration(method, n):
    for topic, p in itertools.product(range(len(TOPICS)), (0.0, 0.2, 0.7, 1.0)):
        exact = expected_return(np.array([p]), np.array([topic]), np.array([100.0]), method, n)
        quality, score = by_hand(p, topic, method, n)
        assert exact.quality[0] == pytest.approx(quality, abs=1e-12)
        assert exact.score[0] == pytest.approx(score, abs=1e-12)


def test_draws_scatter_around_the_closed_forms(world):
    groups = np.array(world.groups)
    for name, drawn in world.channels.present().items():
        for topic in TOPICS:
            rows = groups == topic.name
            part = drawn[rows].astype(np.float64)
            deviation = (part.mean(axis=1) - getattr(world.expected, name)[rows]).mean(axis=0)
            error = np.sqrt((part.var(axis=1, ddof=1) / 16).sum(axis=0)) / rows.sum()
            assert (np.abs(deviation) < 5 * error).all(), (name, topic)


def test_item_response(world):
    plain = load("Synthetic", concentration=math.inf, discrimination=0, noise=0, draws=1)
    topic, b = plain.contexts["features"][:, :4].argmax(axis=1), plain.contexts["features"][:, 4].astype(np.float64)
    for model in MODELS:
        single = plain.expected.quality[:, plain.catalog.id(model.name, "single", 1)]
        theta = model.ability + np.array(model.affinity)[topic]
        np.testing.assert_allclose(single, 1 / (1 + np.exp(b - theta)), rtol=1e-4)


def test_success_is_beta_distributed():
    """At one difficulty, success has mean μ and variance μ(1−μ)/(κ+1)."""
    kappa, count = 5.0, 8000
    many = load("Synthetic", queries=count, draws=1, difficulty=0, discrimination=0, concentration=kappa)
    topic = many.contexts["features"][:, :4].argmax(axis=1)
    for model, t in itertools.product(MODELS, range(len(TOPICS))):
        p = many.expected.quality[topic == t, many.catalog.id(model.name, "single", 1)].astype(np.float64)
        mean = 1 / (1 + math.exp(-model.ability - model.affinity[t]))
        variance = mean * (1 - mean) / (kappa + 1)
        assert p.mean() == pytest.approx(mean, abs=5 * math.sqrt(variance / len(p)))
        assert p.var() == pytest.approx(variance, rel=0.15)


def test_best_of_n_over_optimises_where_the_verifier_can_be_fooled(world):
    groups = np.array(world.groups)

    def curve(model, topic):
        ids = [world.catalog.id(model, "single", 1)] + [world.catalog.id(model, "best_of_n", n) for n in (2, 4, 8, 16)]
        return world.expected.quality[groups == topic][:, ids].astype(np.float64).mean(axis=0)

    for model in MODELS:
        assert (np.diff(curve(model.name, "code")) > 0).all()
        facts = curve(model.name, "facts")
        assert facts[1] > facts[0] and facts[4] < facts[2] - 0.05
    overall = [world.expected.quality[:, world.catalog.id("sim-mini", "best_of_n", n)].mean() for n in (4, 16)]
    assert overall[1] < overall[0]


def test_costs_by_hand(world):
    model = MODELS[2]
    arm = world.catalog.id(model.name, "majority", 8)
    tokens = model.tokens * 8
    plain = load("Synthetic", difficulty=0, length=0, draws=1)
    np.testing.assert_allclose(plain.expected.tokens[:, arm], tokens)
    np.testing.assert_allclose(plain.expected.dollars[:, arm], (250 * 1.25 + tokens * 10) / 1e6, rtol=1e-6)
    longest = model.tokens * (0.5 + 0.5 * sum(1 / k for k in range(1, 9)))
    np.testing.assert_allclose(plain.expected.latency[:, arm], 0.3 + 0.02 * longest, rtol=1e-6)


def gain_of_context(world, name):
    """Mean and standard error, per query, of a cross-fitted ridge policy over the best fixed arm of the same folds."""
    reward = tabulate(world, [Phase(Reward(**world.defaults))]).expected[0].astype(np.float64)
    context = world.contexts[name].astype(np.float64)
    fold = np.random.default_rng(0).permutation(len(reward)) % 5
    gain = np.empty(len(reward))
    for f in range(5):
        train, test = fold != f, np.flatnonzero(fold == f)
        gram = context[train].T @ context[train] + np.eye(context.shape[1])
        chosen = (context[test] @ np.linalg.solve(gram, context[train].T @ reward[train])).argmax(axis=1)
        gain[test] = reward[test, chosen] - reward[test, reward[train].mean(axis=0).argmax()]
    return gain.mean(), gain.std() / np.sqrt(len(gain))


def test_context_has_signal_and_noise_has_none(world):
    gain, error = gain_of_context(world, "features")
    assert gain > 0.08 and gain > 5 * error
    gain, error = gain_of_context(world, "noise")
    assert gain < 3 * error


def test_can_be_made_linear_in_the_topic():
    flat = load("Synthetic", draws=1, difficulty=0, discrimination=0, length=0, noise=0, concentration=math.inf, seed=3)
    reward = tabulate(flat, [Phase(Reward(**flat.defaults))]).expected[0]
    groups = np.array(flat.groups)
    best = set()
    for topic in TOPICS:
        rows = reward[groups == topic.name]
        assert np.ptp(rows, axis=0).max() < 1e-6
        best.add(int(rows[0].argmax()))
    assert len(best) > 1


def test_is_simulated_known_and_reproducible(world):
    assert world.simulated and "simulated" in world.provenance["source"]
    assert world.provenance["parameters"]["seed"] == 0
    assert [model["ability"] for model in world.provenance["models"]] == [model.ability for model in MODELS]
    assert all("simulated" in text for text in world.catalog.descriptions)
    again, other = synthetic.synthetic(), synthetic.synthetic(seed=1)
    for name, array in world.channels.present().items():
        assert (getattr(again.channels, name) == array).all()
        assert not (getattr(other.channels, name) == array).all()
    assert world.channels.quality.shape == (400, 16, 40) and world.channels.eflops is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queries": 0}, "queries is 0"),
        ({"draws": 0}, "draws is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"noise": -0.1}, "noise is -0.1"),
        ({"difficulty": math.inf}, "difficulty is inf"),
        ({"concentration": 0}, "concentration is 0"),
        ({"topics": 3}, "topics"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        load("Synthetic", **options)


def test_small_worlds_are_whole():
    assert load("Synthetic", queries=1, draws=1).channels.quality.shape == (1, 1, 40)
