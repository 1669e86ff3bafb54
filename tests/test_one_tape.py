"""One tape, three players: UISEnv, UISVectorEnv and the compiled loop give the same actions, rewards and regrets."""

from __future__ import annotations

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import AGENTS, Agent, rollout
from agents.handed import make_feedback, make_observation
from agents.spec import make_spec
from uis_env import worlds
from uis_env.bandit import Reward, tabulate
from uis_env.scenarios import make_scenario
from uis_env.tape import Tape, tape
from uis_env.world import Channels

ROUNDS, SEEDS = 300, [7, 8, 9]


class Game:
    """Synthetic world under a scenario, and an agent with its keys."""

    def __init__(self, scenario: str, agent: str) -> None:
        self.world = worlds.load("Synthetic", queries=60, draws=4)
        self.reward = Reward(**self.world.defaults)
        made = make_scenario(scenario, self.world, self.reward)
        self.bandit = tabulate(self.world, made.phases)
        self.schedule = made.schedule(self.world, ROUNDS)
        self.agent: Agent = AGENTS[agent](make_spec(self.world, self.reward, ROUNDS))
        self.seeds = rollout.make_seeds(self.bandit, [self.schedule] * len(SEEDS), SEEDS, agent)
        self.plan = rollout.make_plan(ROUNDS, seeds_per_call=1)
        self.rounds = rollout.make_rounds(self.plan, [self.schedule] * len(SEEDS), SEEDS, self.seeds.keys, 0)

    def compiled(self) -> rollout.Trace:
        tables = rollout.make_tables(self.bandit)
        carry = rollout.start(self.agent, 1, tables, self.seeds)
        _, _, trace = rollout.advance(self.agent, self.plan, tables, self.seeds, carry, self.rounds, trace=True)
        assert trace is not None
        return jax.tree.map(lambda x: np.asarray(x)[:, :ROUNDS], trace)


class Player:
    """Plays one seed's agent on what an environment says; it sees the observation and the info, nothing else."""

    def __init__(self, game: Game, i: int) -> None:
        self.game, self.i = game, i
        self.played: Tape = tape(game.schedule, SEEDS[i])
        self.state = game.agent.init(game.seeds.keys.init[i])
        self.act = jax.jit(game.agent.act)
        self.update = jax.jit(game.agent.update)

    def choose(self, t: int, context: np.ndarray, mask: np.ndarray) -> int:
        phase = self.played.phase[t]
        bandit = self.game.bandit
        self.seen = make_observation(
            t, context[: bandit.context.shape[1]], mask, bandit.preference[phase], bandit.prices[phase]
        )
        self.choice = self.act(self.game.rounds.act[self.i, t], self.state, self.seen)
        return int(self.choice.action)

    def learn(self, t: int, reward: float, back: dict[str, float]) -> None:
        channels = {name: jnp.float32(back[name]) for name in Channels._fields if name in back}
        cost = channels[self.game.reward.cost_channel]
        feedback = make_feedback(self.seen, self.choice.action, jnp.float32(reward), cost, Channels(**channels))
        self.state = self.update(self.game.rounds.update[self.i, t], self.state, feedback)


@pytest.mark.parametrize(
    ("scenario", "agent"),
    [("stationary", "linucb"), ("lost_model", "linear_thompson"), ("preference_mix", "decomposed_linucb")],
)
def test_three_players_one_tape(scenario: str, agent: str) -> None:
    game = Game(scenario, agent)
    trace = game.compiled()
    options = {"horizon": ROUNDS, "scenario": scenario, "world_options": {"queries": 60, "draws": 4}}

    env = gym.make("uis_env:UIS/Synthetic-v0", **options)
    for i, seed in enumerate(SEEDS[:2]):
        player = Player(game, i)
        observation, info = env.reset(seed=seed)
        for t in range(ROUNDS):
            action = player.choose(t, observation, info["action_mask"])
            observation, reward, terminated, truncated, info = env.step(action)
            player.learn(t, reward, info)
            assert (action, np.float32(reward), np.float32(info["regret"])) == (
                trace.action[i, t], trace.reward[i, t], trace.regret[i, t],
            ), (seed, t)  # fmt: skip
        assert terminated
        assert not truncated

    vector = gym.make_vec("uis_env:UIS/Synthetic-v0", num_envs=len(SEEDS), **options)
    players = [Player(game, i) for i in range(len(SEEDS))]
    observations, infos = vector.reset(seed=SEEDS[0])
    for t in range(ROUNDS):
        actions = [p.choose(t, observations[i], infos["action_mask"][i]) for i, p in enumerate(players)]
        observations, rewards, terminations, _, infos = vector.step(np.array(actions))
        back = infos["final_info"] if t == ROUNDS - 1 else infos
        np.testing.assert_array_equal(actions, trace.action[:, t])
        np.testing.assert_array_equal(rewards.astype(np.float32), trace.reward[:, t])
        np.testing.assert_array_equal(back["regret"].astype(np.float32), trace.regret[:, t])
        for i, player in enumerate(players):
            player.learn(t, rewards[i], {name: back[name][i] for name in Channels._fields if name in back})
    assert terminations.all()
