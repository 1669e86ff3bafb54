"""Bandit agents as pure JAX functions; `AGENTS[name](spec, **hyper_parameters)` makes one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from agents.agent import Agent, Choice, Feedback, FullInformation, Observation, Privileged
from agents.check import check_agent
from agents.decomposed import decomposed_linucb, decomposed_thompson
from agents.greedy import epsilon_greedy, greedy
from agents.handed import make_feedback, make_full_information, make_observation
from agents.hierarchical import hierarchical_logit_thompson
from agents.knn import knn
from agents.linear import linear_thompson, linear_thompson_shared, linucb, linucb_arm_only, linucb_shared
from agents.neural_linear import neural_linear_thompson, neural_linear_ucb
from agents.neural_ucb import mlp, neural_ucb
from agents.pilot import pilot_then_best
from agents.probe import probe, probe_online
from agents.references import best_fixed, cheapest, fixed, fixed_elsewhere, oracle, random, strongest
from agents.registry import Entry, Factory, Role
from agents.spec import Spec, make_spec
from agents.text import text_features
from agents.trial import trial
from agents.uniscale import uniscale
from agents.wrappers import explore, only, warm_up

_ENTRIES = (
    Entry(oracle, "reference"),
    Entry(best_fixed, "reference"),
    Entry(fixed_elsewhere, "reference"),
    Entry(strongest, "baseline"),
    Entry(cheapest, "baseline"),
    Entry(fixed, "baseline"),
    Entry(random, "baseline"),
    Entry(greedy),
    Entry(epsilon_greedy),
    Entry(knn),
    Entry(linucb),
    Entry(linucb_shared),
    Entry(linucb_arm_only),
    Entry(linear_thompson),
    Entry(linear_thompson_shared),
    Entry(decomposed_linucb),
    Entry(decomposed_thompson),
    Entry(hierarchical_logit_thompson),
    Entry(pilot_then_best),
    Entry(neural_linear_ucb),
    Entry(neural_linear_thompson),
    Entry(neural_ucb),
    Entry(mlp),
    Entry(uniscale),
    Entry(probe, predicts_quality=True),
    Entry(probe_online, predicts_quality=True),
)
AGENTS: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Every kind of agent by name."""


__all__ = [
    "AGENTS",
    "Agent",
    "Choice",
    "Entry",
    "Factory",
    "Feedback",
    "FullInformation",
    "Observation",
    "Privileged",
    "Role",
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
    "make_feedback",
    "make_full_information",
    "make_observation",
    "make_spec",
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
    "trial",
    "uniscale",
    "warm_up",
]
