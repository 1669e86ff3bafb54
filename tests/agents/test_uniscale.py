"""UniScale: ridge regression on explicit joint vectors in float64, and what each switched-off ingredient changes."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.agent import Agent, Feedback, Observation
from agents.check import check_agent
from agents.fusion import coordinates, unit_features
from agents.handed import make_feedback, make_full_information, make_observation
from agents.spec import Spec
from agents.text import text_features
from agents.uniscale import transformed, uniscale
from agents.wrappers import only
from uis_env.bandit import Phase, Reward, tabulate
from uis_env.world import Channels, World

ARMS, CONTEXT, ROUNDS = 12, 4, 15
WEIGHTS = np.array([0.3, 0.2, 0.5, 0.0, 0.0])
Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def uncompiled(double_precision: None) -> Iterator[None]:
    """A few rounds each: to compile would take longer than to run."""
    with jax.disable_jit():
        yield


def make_spec(features: Array | None = None, **changes: Any) -> Spec:
    if features is None:  # a constant, and the bits of the arm's number
        features = np.array([[1, *(arm >> bit & 1 for bit in range(4))] for arm in range(1, ARMS + 1)])
    parts: dict[str, Any] = {
        "arms": ARMS,
        "context": CONTEXT,
        "features": features.astype(np.float32),
        "model": np.arange(ARMS, dtype=np.int32) % 2,
        "method": np.zeros(ARMS, np.int32),
        "budget": np.zeros(ARMS, np.int32),
        "log_budget": np.zeros(ARMS, np.float32),
        "list_cost": np.linspace(1, 3, ARMS).astype(np.float32),
        "list_quality": np.zeros(ARMS, np.float32),
        "channels": ("quality", "score", "eflops"),
        "horizon": 100,
    }
    return Spec(**(parts | changes))


def observation(context: Array, number: int = 1000, mask: Array | None = None, prices: Any = (1.0, 1.0)) -> Observation:
    on_offer = jnp.ones(ARMS, bool) if mask is None else jnp.asarray(mask)
    return make_observation(
        jnp.int32(number), jnp.asarray(context), on_offer, jnp.asarray(WEIGHTS), jnp.asarray(prices)
    )


def history(seed: int = 0, rounds: int = ROUNDS) -> list[Feedback]:
    random = np.random.default_rng(seed)
    told = []
    for number in range(rounds):
        seen = observation(random.normal(size=CONTEXT), number)
        quality, score, cost = random.random(3)
        reward = 0.3 * quality + 0.2 * score + 0.5 * (1 - cost)
        arm = jnp.int32(random.integers(ARMS - 2))
        told.append(make_feedback(seen, arm, reward, cost, Channels(quality, score, eflops=cost)))
    return told


def learn(agent: Agent, told: list[Feedback]) -> Any:
    state = agent.init(jax.random.key(0))
    for feedback in told:
        state = agent.update(jax.random.key(1), state, feedback)
    return state


def scores(agent: Agent, told: list[Feedback], context: Array, **seen: Any) -> Array:
    return np.asarray(agent.act(jax.random.key(2), learn(agent, told), observation(context, **seen)).scores)


def unit(x: Array) -> Array:
    return np.asarray(x / np.linalg.norm(x))


def ridge_scores(
    joint: Callable[[Array, int], Array],
    told: list[Feedback],
    targets: Array,
    context: Array,
    alpha: float,
    ridge: float,
) -> Array:
    """The definition: A = ridge I + sum phi phi', scores phi'A^-1 b + alpha sqrt(phi'A^-1 phi), one phi per arm."""
    rows = np.stack([joint(np.asarray(feedback.context), int(feedback.action)) for feedback in told])
    inverse = np.linalg.inv(ridge * np.eye(rows.shape[1]) + rows.T @ rows)
    phi = np.stack([joint(context, arm) for arm in range(ARMS)])
    spread = np.sqrt(np.einsum("ai,ij,aj->a", phi, inverse, phi))
    return np.asarray(phi @ inverse @ rows.T @ targets + alpha * spread)


def joint_of(fusion: str, features: Array) -> Callable[[Array, int], Array]:
    f = unit_features(features.astype(np.float32))

    def joint(context: Array, arm: int) -> Array:
        x, row = unit(context), f[arm]
        if fusion == "concat":
            return np.concatenate([x, row]) / np.sqrt(2)
        if fusion == "ids":
            return np.concatenate([x, np.eye(ARMS)[arm]]) / np.sqrt(2)
        return np.outer(x, np.concatenate([[1.0], row])).ravel() / np.sqrt(2)

    return joint


@pytest.mark.parametrize("fusion", ["concat", "kronecker", "ids"])
@pytest.mark.parametrize(("alpha", "ridge"), [(1.0, 1.0), (0.1, 0.3)])
def test_is_the_ridge_regression_on_joint_vectors_of_length_one(fusion: str, alpha: float, ridge: float) -> None:
    spec, told = make_spec(), history()
    agent = uniscale(spec, alpha, ridge, fusion="concat" if fusion == "ids" else fusion, semantics=fusion != "ids")
    context = np.array([0.3, -2.0, 1.0, 0.5])
    joint = joint_of(fusion, spec.features)
    assert np.linalg.norm(joint(context, 3)) == pytest.approx(1)
    expected = ridge_scores(joint, told, np.array([f.reward for f in told]), context, alpha, ridge)
    np.testing.assert_allclose(scores(agent, told, context), expected, rtol=1e-9)


def test_hadamard_multiplies_elementwise_in_the_dimension_of_the_query() -> None:
    spec, told = make_spec(), history()
    rows = coordinates(unit_features(spec.features))[:, :CONTEXT]
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((CONTEXT, rows.shape[1])))[0]
    turned = (rows / np.linalg.norm(rows, axis=1, keepdims=True) @ basis.T).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 1, rtol=1e-6)
    context = np.array([1.0, 0.2, -0.3, 2.0])
    expected = ridge_scores(
        lambda x, arm: unit(x) * turned[arm] * np.sqrt(CONTEXT),
        told, np.array([f.reward for f in told]), context, 1.0, 1.0,
    )  # fmt: skip
    np.testing.assert_allclose(scores(uniscale(spec, fusion="hadamard"), told, context), expected, rtol=1e-9)


def test_full_information_counts_like_rounds() -> None:
    spec, random = make_spec(), np.random.default_rng(3)
    agent = uniscale(spec)
    assert agent.fit is not None
    contexts, rewards = random.normal(size=(5, CONTEXT)), random.random((5, ARMS))
    mask = random.random((5, ARMS)) < 0.7
    log = make_full_information(contexts, mask, WEIGHTS, np.ones(2), rewards, rewards, Channels(rewards))
    fitted = agent.fit(jax.random.key(0), agent.init(jax.random.key(0)), log)
    told = [
        make_feedback(observation(contexts[q]), a, rewards[q, a], rewards[q, a], Channels(rewards[q, a]))
        for q, a in zip(*np.nonzero(mask), strict=True)
    ]
    seen = observation(np.ones(CONTEXT))
    np.testing.assert_allclose(
        agent.act(jax.random.key(2), fitted, seen).scores, scores(agent, told, np.ones(CONTEXT)), rtol=1e-8
    )


def test_warm_up_is_random_and_is_learned_from() -> None:
    agent = uniscale(make_spec(), warmup=50)
    state = learn(agent, history())
    early = agent.act(jax.random.key(5), state, observation(np.ones(CONTEXT), 49))
    late = agent.act(jax.random.key(5), state, observation(np.ones(CONTEXT), 50))
    np.testing.assert_allclose(early.propensities, np.full(ARMS, 1 / ARMS))
    assert np.asarray(late.propensities).max() == 1
    assert not np.allclose(late.scores, agent.act(jax.random.key(5), agent.init(jax.random.key(0)), observation(
        np.ones(CONTEXT), 50)).scores)  # fmt: skip


def test_without_semantics_the_description_is_not_looked_at() -> None:
    told = history()  # the last two arms were never played
    plain = scores(uniscale(make_spec(), semantics=False), told, np.ones(CONTEXT))
    other = make_spec(np.random.default_rng(9).normal(size=(ARMS, 3)))
    np.testing.assert_array_equal(plain, scores(uniscale(other, semantics=False), told, np.ones(CONTEXT)))
    assert plain[-1] == plain[-2]
    described = scores(uniscale(make_spec()), told, np.ones(CONTEXT))
    assert described[-1] != described[-2]
    with pytest.raises(ValueError, match="without semantics"):
        uniscale(make_spec(), semantics=False, fusion="kronecker")


def test_without_dense_feedback_the_score_is_not_learned_from() -> None:
    told = history()
    blind = scores(uniscale(make_spec(), dense_feedback=False), told, np.ones(CONTEXT))

    def scored(f: Feedback, score: Any, reward: Any) -> Feedback:
        return f._replace(channels=f.channels._replace(score=score), reward=reward)

    changed = [scored(f, f.channels.score + 3, f.reward + 0.2 * 3) for f in told]
    np.testing.assert_allclose(
        blind, scores(uniscale(make_spec(), dense_feedback=False), changed, np.ones(CONTEXT)), rtol=1e-9
    )
    bare = [scored(f, None, f.reward - 0.2 * f.channels.score) for f in told]
    np.testing.assert_allclose(blind, scores(uniscale(make_spec()), bare, np.ones(CONTEXT)), rtol=1e-9)
    assert not np.allclose(blind, scores(uniscale(make_spec()), told, np.ones(CONTEXT)))


def test_cost_model_learns_the_pay_off_before_cost_and_charges_what_an_arm_costs() -> None:
    spec = make_spec()
    # every arm costs exactly its list price, so that its cost model knows it from the first round on
    told = [
        f._replace(cost=jnp.asarray(float(spec.list_cost[int(f.action)])), reward=jnp.asarray(0.0)) for f in history()
    ]
    gross = [f._replace(reward=f.reward + 0.5 * f.cost) for f in told]
    context = np.ones(CONTEXT)
    plain = scores(uniscale(spec), gross, context)
    for prices in ((1.0, 1.0), (1.0, 4.0)):
        charge = 0.5 * spec.list_cost * np.array(prices)[spec.model]
        found = scores(uniscale(spec, cost_model=True), told, context, prices=prices)
        np.testing.assert_allclose(found, plain - charge, rtol=1e-6)


@pytest.mark.parametrize(
    "reward",
    [
        Reward(cost=3.0, cost_channel="eflops"),
        Reward(cost=0.5, cost_channel="eflops", transform="clipped", ends=(0.2, 2.0)),
        Reward(quality=0.3, score=0.2, cost=0.5, offset=0.5, cost_channel="eflops", transform="log", ends=(0.2, 2.0)),
    ],
    ids=lambda reward: reward.transform,
)
def test_pay_off_plus_cost_term_is_the_reward_that_is_played(tiny_world: World, reward: Reward) -> None:
    bandit = tabulate(tiny_world, [Phase(reward)])
    spec = replace(make_spec(), transform=reward.transform, ends=reward.ends or (0.0, 1.0))
    assert bandit.channels.score is not None
    payoff = reward.quality * bandit.channels.quality[0] + reward.score * bandit.channels.score[0] + reward.offset
    priced = np.asarray(transformed(spec, jnp.asarray(bandit.cost[0], jnp.float64)))
    np.testing.assert_allclose(bandit.reward[0], payoff - reward.cost * priced, atol=2e-6)


def test_scores_move_with_the_arms() -> None:
    spec, told = make_spec(), history()
    order = np.random.default_rng(4).permutation(ARMS)
    moved = replace(spec, features=spec.features[order], list_cost=spec.list_cost[order], model=spec.model[order])
    place = np.argsort(order)
    renamed = [f._replace(action=jnp.int32(place[int(f.action)])) for f in told]
    for options in ({}, {"fusion": "kronecker"}, {"semantics": False}, {"cost_model": True}):
        before = scores(uniscale(spec, **options), told, np.ones(CONTEXT))
        np.testing.assert_allclose(
            scores(uniscale(moved, **options), renamed, np.ones(CONTEXT)), before[order], rtol=1e-8
        )


def test_coordinates_keep_all_products_in_fewer_columns() -> None:
    hot = np.kron(np.eye(4), np.ones((3, 1)))
    rows = np.concatenate([hot, np.kron(np.ones((4, 1)), np.eye(3))], axis=1)
    kept = coordinates(rows)
    assert kept.shape == (12, 4 + 3 - 1)
    np.testing.assert_allclose(kept @ kept.T, rows @ rows.T, atol=1e-12)


def test_only_keeps_to_its_arms_and_takes_what_there_is() -> None:
    arms = np.arange(ARMS) >= 9
    agent = only(uniscale(make_spec(), warmup=20), arms)
    state = learn(agent, history())
    for number in (3, 30):
        choice = agent.act(jax.random.key(number), state, observation(np.ones(CONTEXT), number))
        assert arms[int(choice.action)]
        assert (np.asarray(choice.propensities)[~arms] == 0).all()
        assert (np.asarray(choice.scores)[~arms] == -np.inf).all()
    mask = np.arange(ARMS) < 2
    assert mask[int(agent.act(jax.random.key(7), state, observation(np.ones(CONTEXT), 30, mask)).action)]


def test_keeps_the_contract() -> None:
    with jax.disable_jit(False):
        check_agent(only(uniscale(make_spec(), warmup=1, cost_model=True), np.arange(ARMS) != 4), make_spec(), rounds=3)


def test_refuses_an_unknown_fusion() -> None:
    with pytest.raises(ValueError, match="fusion is 'sum', expected 'concat', 'kronecker' or 'hadamard'"):
        uniscale(make_spec(), fusion="sum")


def test_text_features_tell_arms_apart_by_which_number_belongs_to_which_noun() -> None:
    features, names = text_features(
        ["big model: 4 trees, 2 paths", "big model: 2 trees, 4 paths", "small model: 4 trees, 4 paths"]
    )
    assert features.dtype == np.float32
    assert set(np.unique(features)) == {0, 1}
    assert not any(features.all(axis=0))
    assert len(set(map(tuple, features.T))) == len(names)
    columns = features.T.tolist()
    assert [1, 0, 1] in columns  # "4 trees"
    assert [0, 1, 1] in columns  # "4 paths"
    assert "model" not in names
    assert "big" in names
    assert "big model" not in names  # stands where "big" stands


def test_text_features_of_the_tree_search_arms_hold_the_grid() -> None:
    from uis_env.worlds.tree_search.fits import model_cards
    from uis_env.worlds.tree_search.world import make_catalog

    catalog = make_catalog(model_cards(), (1, 2, 4, 8), early_exit=False)
    features = unit_features(text_features(catalog.descriptions)[0])
    assert len(np.unique(features.round(9), axis=0)) == 288
    products = features @ features.T
    parts = np.array([(arm.model, *arm.budget) for arm in catalog.arms], dtype=object)
    shared = (parts[:, None] == parts).sum(axis=-1)
    means = [products[shared == count].mean() for count in range(5)]
    assert means == sorted(means)
    assert means[4] == pytest.approx(1)


def test_text_that_does_not_tell_arms_apart_is_refused() -> None:
    with pytest.raises(ValueError, match="arms 0 and 2 cannot be told apart by their text: 'one sample'"):
        text_features(["one sample", "two samples", "one sample"])
