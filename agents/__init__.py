"""Bandit agents as pure JAX functions; `AGENTS` maps names to factories `(spec, **hyperparameters) -> Agent`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from agents.agent import Agent, Choice, Feedback, Logged, Observation, Privileged, Spec
from agents.check import check_agent
from agents.decomposed import decomposed_linucb, decomposed_thompson
from agents.greedy import epsilon_greedy, greedy
from agents.hierarchical import hierarchical_logit_thompson
from agents.knn import knn
from agents.linear import linear_thompson, linear_thompson_shared, linucb, linucb_arm_only, linucb_shared
from agents.neural_linear import neural_linear_thompson, neural_linear_ucb
from agents.neural_ucb import mlp, neural_ucb
from agents.pilot import pilot_then_best
from agents.probe import probe, probe_online
from agents.references import best_fixed, cheapest, fixed, fixed_elsewhere, oracle, random, strongest
from agents.text import text_features
from agents.uniscale import uniscale
from agents.wrappers import explore, only, warm_up

Factory = Callable[..., Agent]

AGENTS: Mapping[str, Factory] = MappingProxyType(
    {
        factory.__name__: factory
        for factory in (
            *(oracle, best_fixed, fixed_elsewhere, strongest, cheapest, fixed, random),
            *(greedy, epsilon_greedy, knn),
            *(linucb, linucb_shared, linucb_arm_only, linear_thompson, linear_thompson_shared),
            *(decomposed_linucb, decomposed_thompson, hierarchical_logit_thompson, pilot_then_best),
            *(neural_linear_ucb, neural_linear_thompson, neural_ucb, mlp),
            *(uniscale, probe, probe_online),
        )
    }
)
"""Every agent by name; the first line of a factory's docstring describes it."""

__all__ = [
    "AGENTS",
    "Agent",
    "Choice",
    "Factory",
    "Feedback",
    "Logged",
    "Observation",
    "Privileged",
    "Spec",
    "best_fixed",
    "cheapest",
    "check_agent",
    "decomposed_linucb",
    "decomposed_thompson",
    "epsilon_greedy",
    "explore",
    "fixed",
    "fixed_elsewhere",
    "greedy",
    "hierarchical_logit_thompson",
    "knn",
    "linear_thompson",
    "linear_thompson_shared",
    "linucb",
    "linucb_arm_only",
    "linucb_shared",
    "mlp",
    "neural_linear_thompson",
    "neural_linear_ucb",
    "neural_ucb",
    "only",
    "oracle",
    "pilot_then_best",
    "probe",
    "probe_online",
    "random",
    "strongest",
    "text_features",
    "uniscale",
    "warm_up",
]
