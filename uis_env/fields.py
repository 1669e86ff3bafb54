"""Single values as other people's files and data frames hold them; every error names where the value stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

LARGEST = float(np.finfo(np.float32).max)
LARGEST_INTEGER = 1 << 53


def absent(value: Any) -> bool:
    """Whether a value says that there is none: None, NaN, an empty text, or a data frame's NA."""
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, str | bytes):
        return not value.strip()
    return isinstance(value, float | np.floating) and math.isnan(value)


def read_text(value: Any, where: str, part: str) -> str:
    """A text that is not empty, or an integer as text."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if _is_integral(value):
        value = str(int(value))
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: {part} is {value!r}, expected a text that is not empty, or an integer")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: {part} is {value!r}, expected text that UTF-8 can hold: {error.reason}") from None
    return str(value)


def read_number(value: Any, where: str, part: str, expected: str = "a number") -> float:
    """A number that float32 holds, NaN where there is none; only quality and score may be negative."""
    if absent(value):
        return math.nan
    signed = part in ("quality", "score")
    expected = expected if signed else "a number >= 0"
    flag = isinstance(value, bool | np.bool_) and part != "quality"
    try:
        number = math.inf if flag or np.ndim(value) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if math.isnan(number):
        return number
    if abs(number) > LARGEST or (number < 0 and not signed):
        raise ValueError(f"{where}: {part} is {value!r}, expected {expected}")
    return number


def read_scale(rescale: tuple[float, float] | None) -> tuple[float, float]:
    """(worst, best), two different finite numbers."""
    try:
        worst, best = (0.0, 1.0) if rescale is None else map(float, () if isinstance(rescale, str) else rescale)
    except (TypeError, ValueError):
        worst = best = math.nan
    if not (math.isfinite(worst) and math.isfinite(best) and worst != best):
        raise ValueError(f"rescale is {rescale!r}, expected (worst, best): two different numbers")
    return worst, best


def read_quality(value: Any, where: str, scale: tuple[float, float]) -> float:
    """A number on the scale (worst, best), moved to [0, 1]; NaN where there is none."""
    worst, best = scale
    low, high = sorted(scale)
    hint = "rescale" if scale != (0.0, 1.0) else "rescale=(worst, best) takes other scales"
    expected = f"a number in [{low:g}, {high:g}] ({hint})"
    number = read_number(value, where, "quality", expected)
    if not math.isnan(number) and not low <= number <= high:
        raise ValueError(f"{where}: quality is {value!r}, expected {expected}")
    return number if scale == (0.0, 1.0) else (number - worst) / (best - worst)


def read_integer(value: Any, where: str, part: str, default: int, low: int) -> int:
    """An integer >= low, or the default where there is none; `4.0` and `"4"` are integers, too."""
    if absent(value):
        return default
    try:
        given = float(value) if isinstance(value, str | bytes) else value
        number = int(given) if _is_integral(given) else low - 1
    except ValueError:
        number = low - 1
    if not low <= number <= LARGEST_INTEGER:
        raise ValueError(f"{where}: {part} is {value!r}, expected an integer >= {low}")
    return number


def _is_integral(value: Any) -> bool:
    """Whether it is a whole number of any type; truth values are none."""
    if isinstance(value, float | np.floating):
        return float(value).is_integer()
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def read_budget(value: Any, where: str) -> tuple[int, ...]:
    """One integer >= 1 or several; 1 where there is none."""
    several = value.ndim == 1 if isinstance(value, np.ndarray) else isinstance(value, Sequence)
    if several and not isinstance(value, str | bytes):
        budget = tuple(read_integer(part, where, "budget", 0, 1) for part in value)
        if not budget or 0 in budget:
            raise ValueError(f"{where}: budget is {value!r}, expected an integer >= 1 or several")
        return budget
    return (read_integer(value, where, "budget", 1, 1),)
