"""LiveEnv: the environment whose arms ask real models."""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from numpy.typing import NDArray

from uis_env.bandit import Reward, pay
from uis_env.live.client import Client
from uis_env.live.config import LiveArm, LiveConfig, load_config
from uis_env.live.context import context_table
from uis_env.live.failure import IN_A_ROW
from uis_env.live.journal import CallJournal
from uis_env.live.loop import Loop
from uis_env.live.outcome import LiveOutcome, play
from uis_env.live.transport import Transport
from uis_env.tape import Schedule, Stretch, tape
from uis_env.world import Channels


class LiveEnv(gym.Env[Any, Any]):
    """The queries of a config, answered by real models; everything else is as in `UISEnv`.

    Observation, action, mask and info are those of the recorded worlds, save that there is no `regret` (nobody knows
    what the other arms would have returned). `info` adds `answer`, `failed` (whether the arm returned nothing),
    `error`, `note` (why the answer could not be graded), and `unknown` (calls whose usage is not known). An arm that
    fails is an outcome: quality 0, its cost charged, at the reserved worst case where its usage is unknown. A failure
    that says nothing about the arm (no connection, no permission, a rate limit) is none: the arm is played again, and
    after five in a row no endpoint is asked any more. `truncated` is True when that, or the dollar limit, stopped the
    arm (`error` says which): the episode cannot go on, and what the step returned is no outcome.

    Args:
        config: a LiveConfig, or the path of one.
        horizon: rounds of an episode (None: every query once).
        cost_weight: λ of the reward (None: the config's).
        cost_channel: "dollars" or "eflops" (None: the config's).
        order: "passes" (shuffled passes over the queries) or "iid".
        observation: "flat" or "dict".
        max_dollars: never passed, over the life of the journal if there is one.
        journal: file of every call, or an open one; what it says was spent counts.
        transport: None connects through the `openai` SDK.

    Attributes:
        config, catalog, contexts, reward: what is played.
        channels: names of the channels that `info` holds.
        outcome: of the last step, with its ledger.

    Raises:
        ValueError: naming the option or key that does not fit and what was expected.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        config: LiveConfig | Path | str,
        *,
        horizon: int | None = None,
        cost_weight: float | None = None,
        cost_channel: str | None = None,
        order: str = "passes",
        observation: str = "flat",
        max_dollars: float = math.inf,
        journal: CallJournal | Path | str | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.config = config if isinstance(config, LiveConfig) else load_config(Path(config))
        self.catalog = self.config.catalog()
        changes: Mapping[str, Any] = {
            name: value for name, value in (("cost", cost_weight), ("cost_channel", cost_channel)) if value is not None
        }
        self.reward = replace(self.config.reward, **changes)
        self.channels = _channels(self.config, self.reward)
        questions = [query.question for query in self.config.queries]
        self.contexts = context_table(self.config.context, questions)
        stretch = Stretch(0, 0, np.arange(len(questions), dtype=np.int32))
        self.horizon = len(questions) if horizon is None else horizon
        self.schedule = Schedule(self.horizon, 1, (stretch,), order=order)
        if observation not in ("flat", "dict"):
            raise ValueError(f"observation is {observation!r}, expected 'flat' or 'dict'")
        self._flat = observation == "flat"
        low, high = self.contexts.min(axis=0), self.contexts.max(axis=0)
        flat = low == high  # a Box must not be flat
        box = spaces.Box(np.where(flat, low - 1, low), np.where(flat, high + 1, high), dtype=np.float32)
        arms = len(self.catalog)
        self.action_space = spaces.Discrete(arms)
        self.observation_space = (
            box if self._flat else spaces.Dict({"context": box, "action_mask": spaces.MultiBinary(arms)})
        )
        self.outcome: LiveOutcome | None = None
        self._journal = CallJournal(Path(journal)) if isinstance(journal, str | Path) else journal
        self._loop = Loop()
        spent = self._journal.spent if self._journal else 0.0
        self.client = Client(
            self.config.pool, max_dollars=max_dollars, transport=transport, journal=self._journal, spent=spent
        )
        self._closed = False
        self._seed: int | None = None
        self._episode = self._round = 0
        self._query: NDArray[Any] | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode: the first one of `seed`, or without it the next one. Option `round` starts it there.

        Raises:
            ValueError: if `options` holds anything else, or the round is not in the episode.
        """
        if self._closed:
            raise ClosedEnvironmentError("this environment is closed: make another one")
        chosen = dict(options) if isinstance(options, Mapping) else {} if options is None else {"options": options}
        start = chosen.pop("round", 0)
        if chosen or not isinstance(start, int | np.integer) or not 0 <= start < self.horizon:
            raise ValueError(f"reset takes the option round in 0..{self.horizon - 1}, got {options}")
        super().reset(seed=seed)
        if seed is None and self._seed is not None:
            self._episode += 1
        else:
            self._seed = int(self.np_random.integers(1 << 32)) if seed is None else seed
            self._episode = 0
        self._query = tape(self.schedule, self._seed, episode=self._episode).query
        self._round = int(start)
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Plays one arm on the query observed, and waits for the answer.

        Raises:
            ValueError: if the action is not an integer in the range.
            ResetNeeded: before the first `reset` and after the end of an episode.
            ClosedEnvironmentError: after `close`.
        """
        if self._closed:
            raise ClosedEnvironmentError("this environment is closed: make another one")
        if self._query is None:
            raise ResetNeeded("no episode is running: call reset() before step()")
        try:
            arm = operator.index(action)
        except TypeError:
            raise ValueError(f"action {action!r} is not an integer (an arm's id)") from None
        if not 0 <= arm < len(self.catalog):
            raise ValueError(f"action {arm} is outside 0..{len(self.catalog) - 1}")
        outcome, stopped = self._loop.run(self._play(self.config.arms[arm]))
        self.outcome = outcome
        channels = self._returned(outcome)
        reward = float(pay(Channels(**{name: np.asarray(value) for name, value in channels.items()}), self.reward))
        info: dict[str, Any] = channels | {
            "arm": self.catalog.arms[arm].name,
            "answer": outcome.answer.answer,
            "failed": outcome.answer.error is not None,
            "error": stopped or outcome.answer.error,
            "note": outcome.note,
            "unknown": outcome.unknown,
        }
        truncated = self.client.budget.exhausted or stopped is not None
        self._round += 1
        terminated = self._round == self.horizon
        if terminated:
            self._round -= 1
        observation = self._observation()
        info |= self._info()
        if terminated or truncated:
            self._query = None
        return observation, reward, terminated, truncated, info

    def action_masks(self) -> NDArray[np.bool_]:
        """(K,) bool, the arms on offer: all of them."""
        return np.ones(len(self.catalog), bool)

    def close(self) -> None:
        """Closes connections and the journal."""
        if self._closed:
            return
        self._closed = True
        self._loop.run(self.client.close())
        self._loop.close()
        if self._journal is not None:
            self._journal.close()

    async def _play(self, arm: LiveArm) -> tuple[LiveOutcome, str | None]:
        """An outcome of the arm, or why there is none."""
        assert self._query is not None
        query = self.config.queries[self._query[self._round]]
        name = f"{self._seed}.{self._episode}.{self._round}"
        seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest())
        for _ in range(IN_A_ROW):
            outcome = await play(self.config.ask(self.client, query, arm, seed), arm.method, arm.budget)
            void = outcome.ledger.void
            if self.client.budget.exhausted or (void is None and self.client.stopped is None):
                return outcome, None
            if self.client.stopped is not None:
                break
        return outcome, self.client.stopped or f"not served {IN_A_ROW} times in a row: {void}"

    def _returned(self, outcome: LiveOutcome) -> dict[str, float]:
        values = {
            "quality": outcome.quality,
            "score": 0.0 if math.isnan(outcome.answer.score) else outcome.answer.score,
            "dollars": outcome.dollars,
            "eflops": outcome.eflops,
            "tokens": outcome.tokens,
            "latency": outcome.latency,
        }
        return {name: float(values[name]) for name in self.channels}

    def _observation(self) -> Any:
        assert self._query is not None
        seen = self.contexts[self._query[self._round]].copy()
        return seen if self._flat else {"context": seen, "action_mask": np.ones(len(self.catalog), np.int8)}

    def _info(self) -> dict[str, Any]:
        assert self._query is not None
        return {"query": int(self._query[self._round]), "action_mask": np.ones(len(self.catalog), np.int8)}


def _channels(config: LiveConfig, reward: Reward) -> tuple[str, ...]:
    """The channels that every arm returns; raises ValueError if the reward weighs another, or has no ends for g."""
    cards = [config.pool.models[arm.model].card for arm in config.arms]
    scored = config.scorer.free and all(config.pool.models[arm.model].logprobs for arm in config.arms)
    have = {
        "quality": True,
        "score": scored,
        "dollars": config.pool.priced,
        "eflops": all(card.shaped for card in config.pool.cards.values()) and bool(cards),
        "tokens": True,
        "latency": True,
    }
    for weight, name in ((reward.score, "score"), (reward.cost, reward.cost_channel)):
        if weight and not have[name]:
            raise ValueError(f"{config.path}.reward: weighs {name} by {weight:g}, but not every arm has {name}")
    if reward.cost and reward.transform != "linear" and reward.ends is None:
        raise ValueError(f"{config.path}.reward.ends: missing, expected (low, high) for a {reward.transform} cost")
    return tuple(name for name, there in have.items() if there)
