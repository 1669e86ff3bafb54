"""Spaces of the environments, and the arguments that all of them check alike: actions, seeds, counts, options."""

from __future__ import annotations

import difflib
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Array = NDArray[Any]


class ArmSpace(spaces.Discrete):
    """`Discrete(K)` whose `sample()`, when no mask is given, draws among the arms on offer in every round.

    So code that knows nothing of masks can sample in scenarios where models come and go.
    """

    def __init__(self, always: Array) -> None:
        """`always` is (K,) bool, at least one True."""
        super().__init__(len(always))
        self.always = always.astype(np.int8)

    def sample(self, mask: Any = None, probability: Any = None) -> Any:
        """An arm; `mask` (int8) and `probability` as in `Discrete`."""
        if probability is not None:
            return super().sample(mask=mask, probability=probability)
        return super().sample(mask=self.always if mask is None else mask)


def action_space(masks: Array, any_arm: bool = False) -> spaces.Discrete:
    """`Discrete(K)` for (n, K) masks; `sample()` keeps to arms that are always on offer, if there are any.

    `any_arm` says that the environment accepts arms that are not on offer.
    """
    always = np.asarray(masks.all(axis=0))
    masked = always.any() and not always.all() and not any_arm
    return ArmSpace(always) if masked else spaces.Discrete(len(always))


def observation_space(
    table: Array, blocks: Mapping[str, slice], arms: int, flat: bool, shares: int = 0
) -> spaces.Space[Any]:
    """float32 `Box` over the rows of a table and `shares` entries in [0, 1], or the blocks of it as a `Dict`.

    Args:
        table: (n, D), all rows that are ever observed.
        blocks: name -> columns, for the `Dict`; it also gets `left`, the shares, and `action_mask`.
        arms: K.
        flat: whether the space is one `Box`.
        shares: entries after the table's columns.
    """
    low, high = table.min(axis=0), table.max(axis=0)
    flat_columns = low == high  # a Box must not be flat: such a column gets a range that also holds 0 and 1
    low = np.append(np.where(flat_columns, np.minimum(low, 0), low), np.zeros(shares)).astype(np.float32)
    high = np.append(np.where(flat_columns, np.maximum(high, 1), high), np.ones(shares)).astype(np.float32)
    if flat:
        return spaces.Box(low, high, dtype=np.float32)
    columns = dict(blocks) | ({"left": slice(table.shape[1], None)} if shares else {})
    parts: dict[str, spaces.Space[Any]] = {
        name: spaces.Box(low[block], high[block], dtype=np.float32) for name, block in columns.items()
    }
    return spaces.Dict(parts | {"action_mask": spaces.MultiBinary(arms)})


def arm_of(action: Any) -> int:
    """An action as a Python integer.

    Raises:
        ValueError: if it is not an integer (a bool is none).
    """
    try:
        if isinstance(action, bool | np.bool_):
            raise TypeError
        return operator.index(action)
    except TypeError:
        raise ValueError(f"action {action!r} is not an integer (an arm's id)") from None


def seed_of(seed: Any) -> int:
    """A seed as a Python integer.

    Raises:
        ValueError: if it is not an integer in 0..2**64 - 1.
    """
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**64:
        raise ValueError(f"seed is {seed!r}, expected an integer in 0..2**64 - 1")
    return int(seed)


def seeds_of(seed: Any, count: int) -> list[int]:
    """`count` seeds: seed + i, or those of a sequence.

    Raises:
        ValueError: if there are not `count` of them, or one is not an integer in 0..2**64 - 1.
    """
    if isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str | bytes) and np.ndim(seed) == 1:
        if len(seed) != count:
            raise ValueError(f"got {len(seed)} seeds for {count} sub-environments")
        return [seed_of(one) for one in seed]
    first = seed_of(seed)
    return [seed_of(first + i) for i in range(count)]


def positive(name: str, value: Any) -> int:
    """A count as a Python integer.

    Raises:
        ValueError: naming it, if it is not an integer >= 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} is {value!r}, expected an integer >= 1")
    return int(value)


def one_of(name: str, value: Any, known: Sequence[str | None]) -> None:
    """Raises ValueError, naming the option and what it may be, unless the value is known."""
    if not (value is None or isinstance(value, str)) or value not in known:
        raise ValueError(f"{name} is {value!r}, expected {' or '.join(map(repr, known))}")


def no_options(options: Any) -> None:
    """Raises ValueError if a reset is given options that there are not."""
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"options is {options!r}, expected a mapping or None")
    if options:
        raise ValueError(f"reset takes no options, got {sorted(map(str, options))}")


def check_options(options: Mapping[str, Any], *functions: Callable[..., Any]) -> None:
    """Raises TypeError, naming the nearest and all options there are, unless the functions take all those given."""
    parameters = [p for function in functions for p in inspect.signature(function).parameters.values()]
    known = list(dict.fromkeys(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)))
    known = [name for name in known if name != "self"]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            # Python's words: libraries that try an option first look for them (TorchRL's frameskip).
            raise TypeError(f"got an unexpected keyword argument {name!r}{hint} Options: {', '.join(known)}")
