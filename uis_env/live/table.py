"""Reading TOML tables and JSON objects with errors that name the file and the key."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_REQUIRED = object()


class Table:
    """A table whose keys are taken one by one; `done` refuses what nobody asked for.

    Attributes:
        where: what opens every error message, e.g. `pool.toml.models.qwen`.
        data: the table as it is.
    """

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
            raise ValueError(f"{where}: expected a table")
        self.where = where
        self.data = dict(data)
        self._taken: set[str] = set()

    @classmethod
    def read(cls, path: Path) -> Table:
        """A TOML file.

        Raises:
            ValueError: naming the file, if it is not TOML.
            FileNotFoundError: if there is no such file.
        """
        try:
            return cls(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not TOML: {error}") from None

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def take(self, key: str, kind: type[T], default: Any = _REQUIRED) -> T:
        """The value of a key; integers pass as floats, booleans never as numbers.

        Raises:
            ValueError: naming the key, if it is absent without a default or of another type.
        """
        self._taken.add(key)
        if key not in self.data:
            if default is _REQUIRED:
                raise ValueError(f"{self.where}.{key}: missing, expected {_NAMES.get(kind, kind.__name__)}")
            return default  # type: ignore[no-any-return]
        value = self.data[key]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{self.where}.{key}: {value!r}, expected {_NAMES.get(kind, kind.__name__)}")
        return value

    def number(self, key: str, default: Any = _REQUIRED, *, low: float, high: float = float("inf")) -> float:
        """A number in [low, high]."""
        value = self.take(key, float, default)
        if value is not default and not low <= value <= high:
            raise ValueError(f"{self.where}.{key}: {value:g}, expected a number in [{low:g}, {high:g}]")
        return value

    def integer(self, key: str, default: Any = _REQUIRED, *, low: int) -> int:
        """An integer >= low."""
        value = self.take(key, int, default)
        if value is not default and value < low:
            raise ValueError(f"{self.where}.{key}: {value}, expected an integer >= {low}")
        return value

    def choice(self, key: str, options: tuple[str, ...], default: Any = _REQUIRED) -> str:
        """One of some words."""
        value = self.take(key, str, default)
        if value not in options:
            raise ValueError(f"{self.where}.{key}: {value!r}, expected one of {', '.join(options)}")
        return value

    def texts(self, key: str, default: Any = _REQUIRED) -> tuple[str, ...]:
        """A list of strings."""
        value = self.take(key, list, default)
        if not all(isinstance(item, str) for item in value):
            raise ValueError(f"{self.where}.{key}: {value!r}, expected a list of strings")
        return tuple(value)

    def table(self, key: str, default: Any = _REQUIRED) -> Table:
        """A sub-table."""
        return Table(self.take(key, dict, default), f"{self.where}.{key}")

    def tables(self, key: str, default: Any = _REQUIRED) -> dict[str, Table]:
        """A table of tables, by name."""
        entries = self.take(key, dict, default)
        return {name: Table(value, f"{self.where}.{key}.{name}") for name, value in entries.items()}

    def rest(self) -> dict[str, Any]:
        """The keys nobody took yet; taken from now on."""
        rest = {key: value for key, value in self.data.items() if key not in self._taken}
        self._taken |= rest.keys()
        return rest

    def done(self) -> None:
        """Raises ValueError naming a key that nobody took, and those that are known."""
        unknown = sorted(self.data.keys() - self._taken)
        if unknown:
            raise ValueError(f"{self.where}: unknown key {unknown[0]!r}, expected {', '.join(sorted(self._taken))}")


_NAMES: dict[type, str] = {str: "a string", int: "an integer", float: "a number", bool: "true or false"} | {
    list: "a list",
    dict: "a table",
}
