"""The columns of a context: which are constant, and which a linear learner cannot use as they are."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

APART = 100.0
"""A column is wildly scaled if its root mean square is this many times the middle column's, or that small a part."""


def constants(contexts: NDArray[Any]) -> tuple[int, ...]:
    """The columns of (Q, D) contexts that hold one and the same number, not zero.

    >>> import numpy as np
    >>> constants(np.array([[0.5, 1.0, 0.0], [0.2, 1.0, 0.0]]))
    (1,)
    """
    first = contexts[:1]
    return tuple(int(column) for column in np.flatnonzero(((contexts == first) & (first != 0)).all(axis=0)))


def warn_of_columns(contexts: NDArray[Any], where: str) -> None:
    """One warning that names the columns of (Q, D) contexts that are zero throughout, and the wildly scaled ones.

    A ridge takes all weights for equally large, so a column in other units than the rest is overruled, or overrules.
    """
    size = np.sqrt(np.mean(np.square(contexts, dtype=np.float64), axis=0))
    some = size > 0
    middle = float(np.median(size[some])) if some.any() else 1.0
    found = (
        (~some, "zero throughout"),
        (size > APART * middle, f"more than {APART:g} times as large as the middle one"),
        (some & (size < middle / APART), f"less than 1/{APART:g} of the middle one"),
    )
    said = [f"{_named(np.flatnonzero(rows))} {what}" for rows, what in found if rows.any()]
    if said:
        warnings.warn(
            f"{where}: {'; '.join(said)}. Standardise them or leave them out: learners take all columns for equally "
            "important",
            stacklevel=3,
        )


def _named(columns: Sequence[Any] | NDArray[Any]) -> str:
    shown = ", ".join(str(column) for column in columns[:10]) + (", ..." if len(columns) > 10 else "")
    return f"columns {shown} are" if len(columns) > 1 else f"column {shown} is"
