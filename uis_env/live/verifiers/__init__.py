"""Verifiers: finding the answer in a text, counting equal answers as one, and grading them.

The rules of each kind are in its docstring, and in docs/graders.md.
"""

from uis_env.live.verifiers.answers import marked
from uis_env.live.verifiers.choices import choice
from uis_env.live.verifiers.exact import exact
from uis_env.live.verifiers.make import entry_verifier, make_verifier, remote_function
from uis_env.live.verifiers.numbers import numeric
from uis_env.live.verifiers.process import SECONDS, GraderError
from uis_env.live.verifiers.user import callback, reasoning_gym, regex
from uis_env.live.verifiers.verifier import Verifier

__all__ = [
    "SECONDS",
    "GraderError",
    "Verifier",
    "callback",
    "choice",
    "entry_verifier",
    "exact",
    "make_verifier",
    "marked",
    "numeric",
    "reasoning_gym",
    "regex",
    "remote_function",
]
