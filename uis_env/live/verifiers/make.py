"""Verifiers by name, as configs and query files name them."""

from __future__ import annotations

import re

from uis_env.live.table import Table
from uis_env.live.verifiers.choices import choice
from uis_env.live.verifiers.exact import exact
from uis_env.live.verifiers.numbers import numeric
from uis_env.live.verifiers.user import callback, load_function, regex
from uis_env.live.verifiers.verifier import Verifier


def make_verifier(spec: str | Table) -> Verifier:
    """A verifier by name ("exact", "numeric", "choice") or from a table with `kind` and its settings.

    Raises:
        ValueError: naming the key that is unknown, missing or not as expected.
    """
    table = Table({"kind": spec}, "verifier") if isinstance(spec, str) else spec
    kind = table.choice("kind", ("exact", "numeric", "choice", "regex", "callback"))
    if kind == "numeric":
        made = numeric(table.number("tolerance", 0.0, low=0, high=1e9))
    elif kind == "regex":
        pattern = table.take("pattern", str)
        try:
            made = regex(pattern)
        except re.error as error:
            raise ValueError(f"{table.where}.pattern: not a regular expression: {error}") from None
    elif kind == "callback":
        made = callback(load_function(table.take("function", str), f"{table.where}.function"))
    else:
        made = exact() if kind == "exact" else choice()
    table.done()
    return made
