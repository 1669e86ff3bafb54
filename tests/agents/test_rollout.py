"""The driver: the same numbers whatever the chunking, and sums that equal a replay of the trace in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import rollout
from agents.agent import Agent, Choice, Feedback, Observation
from uis_env.bandit import Bandit
from uis_env.tape import Schedule, Stretch, tape
from uis_env.world import Channels

QUERIES, DRAWS, ARMS, FEATURES, ROUNDS = 23, 4, 5, 3, 157
SEEDS = [3, 4, 5, 6]


def make_bandit() -> Bandit:
    random = np.random.default_rng(0)
    quality = random.random((2, QUERIES, DRAWS, ARMS)).astype(np.float32)
    cost = (0.1 + random.random((2, QUERIES, DRAWS, ARMS))).astype(np.float32)
    reward = quality - 0.5 * cost
    mask = random.random((2, QUERIES, ARMS)) < 0.8
    mask[..., 0] = True
    expected = np.where(mask, reward.mean(axis=2), 0).astype(np.float32)
    best = np.where(mask, expected, -np.inf).max(axis=-1, keepdims=True)
    context = random.normal(size=(QUERIES, FEATURES)).astype(np.float32)
    seconds = (0.5 + 60 * random.random((2, QUERIES, DRAWS, ARMS)) ** 4).astype(np.float32)
    return Bandit(
        context=context,
        reward=reward,
        expected=expected,
        regret=np.where(mask, best - expected, 0).astype(np.float32),
        mask=mask,
        preference=np.ones((2, 5), np.float32),
        prices=np.ones((2, 2), np.float32),
        cost=cost,
        channels=Channels(quality=quality, eflops=cost, latency=seconds),
        variant=np.array([0, 1], np.int32),
    )


def mean_agent() -> Agent:
    """Epsilon-greedy on arm means: enough state and randomness to notice a lost or doubled round."""

    def init(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.zeros(ARMS), jnp.zeros(ARMS)

    def act(key: jax.Array, state: tuple[jax.Array, jax.Array], seen: Observation) -> Choice:
        assert seen.privileged is None
        total, count = state
        scores = jnp.where(seen.mask, total / jnp.maximum(count, 1) + jax.random.gumbel(key, (ARMS,)), -jnp.inf)
        return Choice(jnp.argmax(scores).astype(jnp.int32), jnp.full(ARMS, jnp.nan), scores)

    def update(key: jax.Array, state: tuple[jax.Array, jax.Array], back: Feedback) -> tuple[jax.Array, jax.Array]:
        total, count = state
        return total.at[back.action].add(back.reward), count.at[back.action].add(1)

    return Agent(init, act, update)


BANDIT = make_bandit()
SCHEDULE = Schedule(
    ROUNDS,
    DRAWS,
    (Stretch(0, 0, np.arange(QUERIES, dtype=np.int32)), Stretch(90, None, np.arange(7, dtype=np.int32))),
    phases=2,
)


def play(agent: Agent, seeds_per_call: int, chunk_rounds: int, bins: int = 20):
    plan = rollout.make_plan(ROUNDS, seeds_per_call, bins, chunk_rounds)
    tables = rollout.make_tables(BANDIT)
    seeds = rollout.make_seeds(BANDIT, [SCHEDULE] * len(SEEDS), SEEDS, "agent")
    carry = rollout.start(agent, seeds_per_call, tables, seeds)
    parts = []
    for chunk in range(plan.chunks):
        rounds = rollout.make_rounds(plan, [SCHEDULE] * len(SEEDS), SEEDS, seeds.keys, chunk)
        carry, bins_, trace = rollout.advance(agent, plan, tables, seeds, carry, rounds, trace=True)
        parts.append((bins_, trace))
    join = jax.tree.map(lambda *xs: np.concatenate([np.asarray(x) for x in xs], axis=1), *parts)
    return plan, jax.tree.map(np.asarray, carry), *join


AGENT = mean_agent()
WHOLE = play(AGENT, seeds_per_call=4, chunk_rounds=ROUNDS)


@pytest.mark.parametrize(("seeds_per_call", "chunk_rounds"), [(4, 16), (4, 50), (1, 157), (2, 30)])
def test_chunking_and_mapping_change_no_bit(seeds_per_call: int, chunk_rounds: int) -> None:
    plan, carry, bins, trace = play(AGENT, seeds_per_call, chunk_rounds)
    whole_plan, whole_carry, whole_bins, whole_trace = WHOLE
    assert plan.bins == whole_plan.bins
    jax.tree.map(np.testing.assert_array_equal, carry._replace(state=()), whole_carry._replace(state=()))
    np.testing.assert_array_equal(bins.sums[:, : plan.bins], whole_bins.sums[:, : plan.bins])
    np.testing.assert_array_equal(trace.action[:, :ROUNDS], whole_trace.action[:, :ROUNDS])


def test_chunking_changes_no_bit_of_long_bins() -> None:
    whole, chunked = (play(AGENT, 1, chunk_rounds, bins=3) for chunk_rounds in (ROUNDS, 1))
    assert chunked[0].chunk_bins == 1 < whole[0].chunk_bins
    np.testing.assert_array_equal(chunked[2].sums, whole[2].sums)
    np.testing.assert_array_equal(chunked[2].arms, whole[2].arms)


def test_sums_equal_a_replay_of_the_trace() -> None:
    _, carry, bins, trace = WHOLE
    for i, seed in enumerate(SEEDS):
        query, draw, phase = tape(SCHEDULE, seed)
        action = trace.action[i, :ROUNDS]
        assert BANDIT.mask[phase, query, action].all()
        reward = BANDIT.reward[phase, query, draw, action]
        np.testing.assert_array_equal(trace.reward[i, :ROUNDS], reward)
        np.testing.assert_array_equal(trace.regret[i, :ROUNDS], BANDIT.regret[phase, query, action])
        cost = BANDIT.cost[BANDIT.variant[phase], query, draw, action]
        fresh = np.array([q not in query[:t] for t, q in enumerate(query)])
        total = dict(zip(rollout.METRICS, bins.sums[i].sum(axis=0, dtype=np.float64), strict=True))
        np.testing.assert_allclose(total["reward"], reward.sum(dtype=np.float64), rtol=1e-5)
        np.testing.assert_allclose(total["cost"], cost.sum(dtype=np.float64), rtol=1e-5)
        np.testing.assert_allclose(total["eflops"], total["cost"], rtol=1e-6)
        np.testing.assert_allclose(total["fresh_reward"], reward[fresh].sum(dtype=np.float64), rtol=1e-5)
        assert total["fresh"] == fresh.sum()
        assert total["dollars"] == total["tokens"] == 0
        assert total["optimal"] == (BANDIT.regret[phase, query, action] == 0).sum()
        np.testing.assert_array_equal(carry.query_count[i], np.bincount(query, minlength=QUERIES))
        np.testing.assert_allclose(
            carry.query_reward[i], np.bincount(query, weights=reward, minlength=QUERIES), rtol=1e-4, atol=1e-5
        )
        np.testing.assert_array_equal(carry.arm_count[i], np.bincount(action, minlength=ARMS))
        np.testing.assert_array_equal(bins.arms[i].sum(axis=0), carry.arm_count[i])
        assert BANDIT.channels.latency is not None
        seconds = BANDIT.channels.latency[BANDIT.variant[phase], query, draw, action]
        np.testing.assert_allclose(total["latency"], seconds.sum(dtype=np.float64), rtol=1e-5)
        for name, values, table in (("cost", cost, BANDIT.cost), ("latency", seconds, BANDIT.channels.latency)):
            ends = np.log([table.min(), table.max()])
            for share in (0.5, 0.95, 0.99):
                found = rollout.percentile(carry.histograms[name][[i]], ends, share)[0]
                exact = np.quantile(values, share, method="inverted_cdf")
                assert abs(np.log(found / exact)) <= (ends[1] - ends[0]) / rollout.HISTOGRAM


def test_percentiles_are_those_of_the_counts() -> None:
    counts = np.zeros((3, rollout.HISTOGRAM), np.int32)
    counts[0, [3, 400]] = 95, 5
    counts[1, [3, 400]] = 94, 6
    counts[2, 7] = 1
    found = rollout.percentile(counts, np.array([0.0, rollout.HISTOGRAM]), 0.95)
    np.testing.assert_allclose(np.log(found), [3.5, 400.5, 7.5])


def test_a_world_without_seconds_keeps_no_histogram_of_them() -> None:
    tables = rollout.make_tables(BANDIT._replace(channels=BANDIT.channels._replace(latency=None)))
    assert set(tables.places) == set(tables.ends) == {"cost"}


def test_seeds_per_call_are_all_of_them_where_there_is_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    heavy = AGENT._replace(seeds_per_call=12)
    asked = [(AGENT, 16), (heavy, 16), (heavy, 3), (heavy, 16, 4)]
    assert [rollout.choose_seeds_per_call(*arguments) for arguments in asked] == [1, 8, 3, 4]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert [rollout.choose_seeds_per_call(AGENT, 200), rollout.choose_seeds_per_call(AGENT, 200, 33)] == [200, 32]


def test_hindsight_is_the_mean_over_the_tape() -> None:
    query, _, phase = tape(SCHEDULE, 5)
    expected = BANDIT.expected[phase, query].mean(axis=0, dtype=np.float64)
    always = BANDIT.mask[phase, query].all(axis=0)
    got, *others = rollout.hindsight(BANDIT, SCHEDULE, [5, 6, 7], chunk=39)
    np.testing.assert_allclose(got[always], expected[always], rtol=1e-6)
    assert (got[~always] == -np.inf).all()
    for seed, row in zip((6, 7), others, strict=True):
        np.testing.assert_array_equal(row, rollout.hindsight(BANDIT, SCHEDULE, [seed])[0])


def test_elsewhere_leaves_the_own_fold_out() -> None:
    bandit = BANDIT._replace(mask=np.ones_like(BANDIT.mask))
    tables = rollout.make_tables(bandit)
    fold = np.asarray(tables.fold)
    for f in range(5):
        mean = bandit.expected[:, fold != f].mean(axis=(0, 1))
        np.testing.assert_allclose(np.asarray(tables.elsewhere)[f], mean, rtol=1e-5)


def test_agents_differ_by_name_and_seed_only() -> None:
    keys = [key for s in (0, 1) for n in ("a", "b") for key in rollout.agent_keys(s, n)]
    assert len({bytes(np.asarray(jax.random.key_data(key))) for key in keys}) == 16


def test_tapes_are_padded_after_the_horizon() -> None:
    plan = rollout.make_plan(ROUNDS, 1, bins=20, chunk_rounds=50)
    keys = rollout.make_seeds(BANDIT, [SCHEDULE], [3], "agent").keys
    last = rollout.make_rounds(plan, [SCHEDULE], [3], keys, plan.chunks - 1)
    assert last.tape.query.shape == last.act.shape == (1, plan.chunk_rounds)
    assert last.number[-1] >= ROUNDS
    assert plan.chunks * plan.chunk_rounds >= ROUNDS > (plan.chunks - 1) * plan.chunk_rounds
