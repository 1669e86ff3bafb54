import numpy as np

from experiments import ceiling
from uis_env.bandit import Reward, tabulate
from uis_env.scenarios import make_scenario


def test_ridge_matches_the_normal_equations_with_penalties_from_brute_force():
    random = np.random.default_rng(0)
    context, at = random.normal(2.0, 3.0, size=(30, 4)), random.normal(2.0, 3.0, size=(6, 4))
    target = np.column_stack([context @ [1.0, -1, 0, 0] + random.normal(size=30), random.normal(size=30)])
    got = ceiling.ridge(context, target, at)

    def fit(rows, y, penalty, x):
        centre, scale = context.mean(axis=0), context.std(axis=0)
        design = np.column_stack([np.ones(len(rows)), (context[rows] - centre) / scale])
        matrix = design.T @ design + penalty * np.diag([0, 1, 1, 1, 1.0])
        return np.column_stack([np.ones(len(x)), (x - centre) / scale]) @ np.linalg.solve(matrix, design.T @ y)

    for arm in range(2):
        y = target[:, arm]
        errors = []
        for penalty in ceiling.PENALTIES * 30:
            # the left-out row keeps the standardisation of all rows, as the leverage formula does
            left_out = [
                y[i] - fit(np.delete(np.arange(30), i), np.delete(y, i), penalty, context[i : i + 1])[0]
                for i in range(30)
            ]
            errors.append(np.mean(np.square(left_out)))
        penalty = ceiling.PENALTIES[int(np.argmin(errors))] * 30
        np.testing.assert_allclose(got[:, arm], fit(np.arange(30), y, penalty, at), rtol=1e-6)


def test_ridge_of_a_constant_context_is_the_mean():
    target = np.random.default_rng(0).random((10, 3))
    got = ceiling.ridge(np.ones((10, 2)), target, np.ones((4, 2)))
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
    fold = np.arange(200) % 5
    chosen = ceiling.ceiling_policy(bandit, np.full((1, 200), 1 / 200), fold)
    assert np.take_along_axis(bandit.mask, chosen[..., None], axis=2).all()
    paid = np.take_along_axis(bandit.expected, chosen[..., None], axis=2).mean()
    assert paid > 0.85


def test_the_policy_of_a_query_does_not_depend_on_its_own_fold(world_factory):
    world = world_factory(queries=60)
    bandit = tabulate(world, make_scenario("stationary", world, Reward()).phases)
    fold = np.arange(60) % 5
    weight = np.full((1, 60), 1 / 60)
    before = ceiling.ceiling_policy(bandit, weight, fold)
    expected = bandit.expected.copy()
    expected[:, fold == 2] = np.random.default_rng(1).random(expected[:, fold == 2].shape)
    after = ceiling.ceiling_policy(bandit._replace(expected=expected), weight, fold)
    np.testing.assert_array_equal(before[:, fold == 2], after[:, fold == 2])
    assert not np.array_equal(before, after)
