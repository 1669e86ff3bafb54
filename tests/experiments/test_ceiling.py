import numpy as np
import pytest

from experiments import ceiling
from experiments.components import two_way
from uis_env.bandit import Reward, tabulate
from uis_env.scenarios import make_scenario


def test_ridge_matches_the_normal_equations_with_penalties_from_brute_force():
    random = np.random.default_rng(0)
    context, at = random.normal(2.0, 3.0, size=(30, 4)), random.normal(2.0, 3.0, size=(6, 4))
    target = np.column_stack([context @ [1.0, -1, 0, 0] + random.normal(size=30), random.normal(size=30)])
    got = ceiling.Ridge(context, at).fit(target)[1]
    centre, scale = context.mean(axis=0), context.std(axis=0)

    def design(x):
        return np.column_stack([np.ones(len(x)), (x - centre) / scale])

    def hat(penalty, x):
        own = design(context)
        return design(x) @ np.linalg.solve(own.T @ own + penalty * np.diag([0, 1, 1, 1, 1.0]), own.T)

    for arm in range(2):
        y = target[:, arm]
        errors = []
        for penalty in ceiling.PENALTIES * 30:
            own = hat(penalty, context)  # generalised cross-validation, with the hat matrix written out
            errors.append(np.mean(np.square(y - own @ y)) / (1 - np.trace(own) / 30) ** 2)
        penalty = ceiling.PENALTIES[int(np.argmin(errors))] * 30
        np.testing.assert_allclose(got[:, arm], hat(penalty, at) @ y, rtol=1e-6)


def test_ridge_of_a_constant_context_is_the_mean():
    target = np.random.default_rng(0).random((10, 3))
    got = ceiling.Ridge(np.ones((10, 2)), np.ones((4, 2))).fit(target)[1]
    np.testing.assert_allclose(got, np.tile(target.mean(axis=0), (4, 1)), rtol=1e-12)


def test_the_policy_finds_a_linear_rule_and_never_an_arm_that_is_not_on_offer(world_factory):
    world = world_factory(queries=200, missing={3: (0, 1), 8: (2,), 9: (2,)})
    context = world.contexts["plain"]
    quality = np.full((200, 5), 0.2, np.float32)
    quality[:, 1] = context[:, 0] > 0
    quality[:, 2] = context[:, 0] <= 0
    world = world_factory(
        queries=200,
        missing={3: (0, 1), 8: (2,), 9: (2,)},
        expected=world.expected._replace(quality=np.where(world.recorded, quality, 0).astype(np.float32)),
    )
    bandit = tabulate(world, make_scenario("stationary", world, Reward()).phases)
    for chosen in ceiling.policies(tables(bandit)).arm:
        assert np.take_along_axis(bandit.mask[0], chosen[:, None], axis=1).all()
        assert np.take_along_axis(bandit.expected[0], chosen[:, None], axis=1).mean() > 0.85


def tables(bandit):
    """Of the first phase, everything counted as quality."""
    gain, mask = bandit.expected[0].astype(float), bandit.mask[0]
    queries = len(gain)
    return ceiling.Tables(bandit.context, gain, 0 * gain, mask, mask.all(axis=0), np.full(queries, 1 / queries))


def test_the_policy_of_a_query_does_not_depend_on_its_own_fold(world_factory):
    world = world_factory(queries=60)
    made = tables(tabulate(world, make_scenario("stationary", world, Reward()).phases))
    fold = np.random.default_rng(0).permutation(60) % ceiling.FOLDS  # of the first split
    before = ceiling.policies(made)
    gain = made.gain.copy()
    gain[fold == 2] = np.random.default_rng(1).random(gain[fold == 2].shape)
    after = ceiling.policies(made._replace(gain=gain))
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old[0, fold == 2], new[0, fold == 2])
    assert not np.array_equal(before.fixed, after.fixed)


def drawn(seed, signal, queries=378, arms=12, dim=16, decades=3.0):
    """A world of log-normal costs over three decades; the sign of a feature says which of two arms answers better.

    The other arms are .3 worse, so the best policy gains `signal` over every fixed arm, but for costs' and luck's part.
    """
    random = np.random.default_rng(seed)
    context = random.normal(size=(queries, dim))
    quality = 0.2 + 0.1 * random.normal(size=(queries, arms))
    quality[:, :2] += 0.3
    quality[:, 0] += signal * np.sign(context[:, 0])
    quality[:, 1] -= signal * np.sign(context[:, 0])
    median = 10 ** (decades * random.random(arms) - decades)
    median[:2] = 10**-decades
    cost = median * 10 ** (0.5 * random.normal(size=(queries, arms)) + 0.3 * context[:, 1:2])
    everything = np.ones((queries, arms), bool)
    return ceiling.Tables(context, quality, cost, everything, np.ones(arms, bool), np.full(queries, 1 / queries))


def worth(made):
    """What `references` makes of it: (value, low, high) over the best fixed arm, and out of sample."""
    found = ceiling.policies(made)
    reward = made.gain - made.loss
    best = reward.mean(axis=0).argmax()
    paid = np.take_along_axis(reward, found.arm.T, axis=1)
    shown = np.where(found.member.T == 0, 0.0, paid - reward[:, [best]])
    outside = paid - np.take_along_axis(reward, found.fixed.T, axis=1)
    results = []
    for gain in (shown, outside):
        low, high = two_way(gain.T[:, None], np.ones((1, len(gain)))).intervals()
        half = np.sqrt(np.mean(np.square(high - low))) / 2
        results.append((gain.mean(), gain.mean() - half, gain.mean() + half))
    return results


def test_heavy_tailed_costs_hide_no_gain_and_make_none():
    for seed in range(6):
        (value, low, _), (outside, *_) = worth(drawn(seed, 0.1))
        assert low > 0
        assert 0.07 < value < 0.11  # fifteen features of noise hide a part
        assert outside == pytest.approx(value, abs=0.02)
    silent = [worth(drawn(seed, 0.0))[0] for seed in range(6)]
    assert all(high >= 0 for _, _, high in silent)
    assert np.mean([low > 0 for _, low, _ in silent]) <= 1 / 6


def test_one_ridge_of_the_reward_would_lose_where_costs_are_heavy_tailed():
    """Why quality and cost are regressed apart."""
    lost = []
    for seed in range(4):
        made = drawn(seed, 0.1)._replace(loss=drawn(seed, 0.1).loss * 10)
        reward, half = made.gain - made.loss, np.arange(378) < 189
        predicted = ceiling.Ridge(made.context[half], made.context[~half]).fit(reward[half])[1]
        best = reward[half].mean(axis=0).argmax()
        ridge = np.take_along_axis(reward[~half], predicted.argmax(axis=1)[:, None], axis=1)[:, 0] - reward[~half, best]
        lost.append(worth(made)[1][0] - ridge.mean())
    assert np.mean(lost) > 0


@pytest.mark.slow
def test_signal_is_claimed_in_few_worlds_without_signal():
    made = [worth(drawn(seed, 0.0)) for seed in range(200)]
    for measure in range(2):
        claimed = np.mean([row[measure][1] > 0 for row in made])
        assert claimed <= 0.025 + 1.6 * np.sqrt(0.025 * 0.975 / 200)  # one-sided 95% of 200 worlds
        assert np.mean([row[measure][2] < 0 for row in made]) <= 0.05
    found = [worth(drawn(seed, 0.05))[0] for seed in range(50)]
    assert np.mean([low > 0 for _, low, _ in found]) > 0.9


def test_with_few_queries_it_is_the_fixed_arm():
    made = drawn(0, 0.1, queries=9)
    found = ceiling.policies(made)
    assert (found.member == 0).all()
    assert (found.arm == found.fixed).all()
