"""Long-form rows of anybody's log (query, model, quality, ...) to a World."""

from __future__ import annotations

import difflib
import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uis_env.arms import Arm, ArmCatalog, arm_features
from uis_env.fields import LARGEST, absent, read_budget, read_integer, read_number, read_quality, read_scale, read_text
from uis_env.world import Channels, World, mean_ends

Array = NDArray[Any]
REQUIRED = ("query", "model", "quality")
CHANNELS = ("score", "dollars", "tokens", "latency", "eflops")
FIELDS = (*REQUIRED, "method", "budget", "style", "draw", "group", "text", *CHANNELS)
MOST_DRAWS = 64
"""Draws beyond which a table whose cells have different numbers of draws is not made longer to weigh them equally."""


def from_rows(
    rows: Iterable[Any],
    name: str = "mine",
    contexts: ArrayLike | Mapping[Any, Any] | None = None,
    *,
    rescale: tuple[float, float] | None = None,
    simulated: bool = False,
    defaults: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> World:
    """A world from rows, one per (query, arm, draw), in any order.

    Fields of a row; those without a default are needed:

    - `query` (a text or an integer), `model`, `quality` in [0, 1];
    - `method` ("single"), `budget` (1; an integer or several), `style` (""): with `model` they name the arm;
    - `draw` (0): tells repeated answers of an arm to a query apart;
    - `group` ("all") and `text` of the query;
    - `score`, `dollars`, `tokens`, `latency` (seconds), `eflops` (tera): in all rows, or in none.

    Numbers may be written as text, as CSV readers hand them over; None, NaN and an empty text are absent. Further
    fields are left aside and listed in the provenance.

    A (query, arm) without a row, or whose quality is absent, is a hole: not `recorded`, so never offered. The
    expectation of the others is the mean over their draws. A world has as many draws in every cell: where cells have
    different numbers of draws, R is their least common multiple and each cell repeats its draws in turn, so that all
    of them weigh the same and the table's mean is the expectation. Beyond 64 draws R is the greatest number, and a
    draw may come once more often than another of its cell. Draws are matched between the arms of a query in their
    order.

    Args:
        rows: mappings from any iterable (a list, a generator, `csv.DictReader`, a data frame's `to_dict("records")`),
            or a NumPy structured array.
        name: of the world.
        contexts: (Q, d) numbers in the order in which queries first appear; or a mapping from a query to its d numbers;
            or a mapping from a context's name to (Q, d) numbers. None embeds the texts, if all queries have one and the
            extra `build` is installed; else the context is one constant column, with a warning.
        rescale: (worst, best) of another scale of quality, mapped to 0 and 1 linearly: `(1, 5)` for five stars,
            `(3, 0)` for a loss. Costs and weights of a reward are then per 1 of the new scale.
        simulated: say True where the outcomes were not recorded.
        defaults: settings of `Reward` that make a sensible game of this world, e.g. `{"cost": 100.0}`.
        provenance: plain JSON to keep with the world: source, licence.

    Returns:
        The world; arms are in the order in which they first appear.

    Raises:
        ValueError: naming the row (counted from 0) and its field, what is there and what was expected.

    Example:
        >>> import uis_env
        >>> log = [("q1", "small", 0.0), ("q1", "large", 1.0), ("q2", "small", 1.0)]
        >>> rows = ({"query": q, "model": m, "quality": right, "text": "?"} for q, m, right in log)
        >>> world = uis_env.from_rows(rows, name="two-models", contexts=[[0.2, 1.0], [0.9, 1.0]])
        >>> world
        <World 'two-models', recorded: 2 queries x 1 draws x 2 arms, 1 of 4 cells without outcomes>
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"name is {name!r}, expected a text that is not empty")
    log = _read(rows, read_scale(rescale))
    table, most = _draws(log)
    places, values = np.array([place[:2] for place in log.places]), np.array(log.values)
    named = ("quality", *log.present)
    drawn = Channels(**{part: _gather(values[:, i], table) for i, part in enumerate(named)})
    everything = np.ones(len(values), bool)
    expected = _means(places, values, named, log, everything)
    expected = Channels(**{part: np.nan_to_num(array) for part, array in expected.present().items()})
    recorded = np.asarray((table >= 0).all(axis=1))
    found, facts = _contexts(contexts, log)
    catalog = _catalog(tuple(log.arms), recorded, expected)
    counts = Counter(len(cell) for cell in log.cells.values())
    return World(
        name=name,
        simulated=simulated,
        catalog=catalog,
        contexts=found,
        channels=drawn,
        expected=expected,
        recorded=recorded,
        query_ids=tuple(log.queries),
        groups=tuple(log.groups.get(query, "all") for query in log.queries),
        halves=_halves(places, values, named, log) if most > 1 else None,
        cost_ends=mean_ends(expected),
        defaults=dict(defaults or {}),
        provenance={
            "source": "rows given to uis_env.from_rows",
            "rows": log.count,
            "holes": {"cells": int((~recorded).sum()), "rows without quality": log.holes},
            "draws": {str(number): cells for number, cells in sorted(counts.items())},
            "expectation": "mean over the draws of a cell",
            **({} if rescale is None else {"rescaled from": [float(end) for end in rescale]}),
            **({"fields left aside": sorted(log.aside)} if log.aside else {}),
            "context": facts,
            **(provenance or {}),
        },
    )


@dataclass
class _Log:
    """Rows as they were read: `places` and `values` have an entry per row with a quality.

    `queries` and `arms` number them as they first appear; `cells` holds, per (query, arm), draw -> entry.
    """

    queries: dict[str, int] = field(default_factory=dict)
    arms: dict[Arm, int] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    cells: dict[tuple[int, int], dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    labels: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    places: list[tuple[int, int, int]] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    present: tuple[str, ...] = ()
    aside: set[str] = field(default_factory=set)
    count: int = 0
    holes: int = 0


def _read(rows: Iterable[Any], scale: tuple[float, float]) -> _Log:
    log = _Log()
    known: set[frozenset[str]] = set()
    values: list[list[float]] = []
    for number, row in enumerate(_mappings(rows)):
        where = f"row {number}"
        log.count += 1
        if (keys := frozenset(row)) not in known:
            known.add(keys)
            log.aside |= _check_fields(row, where)
        query = read_text(row["query"], where, "query")
        log.queries.setdefault(query, len(log.queries))
        for part, kept in (("group", log.groups), ("text", log.texts)):
            if not absent(row.get(part)):
                said = read_text(row[part], where, part)
                if kept.setdefault(query, said) != said:
                    raise ValueError(f"{where}: {part} is {said!r}, but {kept[query]!r} in an earlier row of {query!r}")
        quality = read_quality(row["quality"], where, scale)
        if math.isnan(quality):
            log.holes += 1
            continue
        q, k = log.queries[query], log.arms.setdefault(_arm(row, where), len(log.arms))
        draw = read_integer(row.get("draw"), where, "draw", 0, 0)
        cell = log.cells[q, k]
        if draw in cell:
            raise ValueError(
                f"{where}: query, arm and draw are those of row {log.rows[cell[draw]]}; expected each once "
                "(field 'draw' numbers repeated answers)"
            )
        cell[draw] = len(log.places)
        log.labels[q].add(draw)
        log.places.append((q, k, draw))
        log.rows.append(number)
        values.append([quality, *(read_number(row.get(channel), where, channel) for channel in CHANNELS)])
    if not log.places:
        raise ValueError(f"{log.count} rows, none of them with a quality; expected at least one")
    for query, q in log.queries.items():
        if q not in log.labels:
            raise ValueError(f"query {query!r}: no row has a quality; expected at least one arm that was recorded")
    log.present = _present(values, log.rows)
    columns = [0, *(1 + CHANNELS.index(channel) for channel in log.present)]
    log.values = [[row[i] for i in columns] for row in values]
    return log


def _mappings(rows: Iterable[Any]) -> Iterable[Mapping[str, Any]]:
    """The rows as mappings; a structured array's by its fields."""
    if isinstance(rows, np.ndarray) and rows.dtype.names:
        names = rows.dtype.names
        yield from (dict(zip(names, row, strict=True)) for row in rows.ravel().tolist())
        return
    hint = "expected a mapping from field to value; of a data frame give to_dict('records'), not the frame"
    if isinstance(rows, Mapping | str | bytes) or not isinstance(rows, Iterable):
        raise ValueError(f"rows is {type(rows).__name__}, expected an iterable of mappings; {hint}")
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise ValueError(f"row {number}: {type(row).__name__} {row!r}, {hint}")
        yield row


def _check_fields(row: Mapping[str, Any], where: str) -> set[str]:
    """The fields that mean nothing here; ValueError if a needed one is missing, or one is misspelt."""
    aside = {str(key) for key in row if key not in FIELDS}
    for key in sorted(aside):
        close = difflib.get_close_matches(key.lower(), [known for known in FIELDS if known not in row], 1, 0.85)
        if close:
            raise ValueError(f"{where}: unknown field {key!r}, did you mean {close[0]!r}?")
    for key in REQUIRED:
        if key not in row:
            raise ValueError(f"{where}: field {key!r} is missing; it has {', '.join(map(str, row))}")
    return aside


def _present(values: Sequence[Sequence[float]], rows: Sequence[int]) -> tuple[str, ...]:
    """The channels that all rows have; ValueError for one that only some have."""
    present = []
    for i, channel in enumerate(CHANNELS, start=1):
        lost = [row for row, entry in zip(rows, values, strict=True) if math.isnan(entry[i])]
        if not lost:
            present.append(channel)
        elif len(lost) < len(rows):
            raise ValueError(
                f"row {lost[0]}: {channel} is absent, as in {len(lost)} of {len(rows)} rows with a quality; "
                "expected it in all of them or in none (a missing number is never zero)"
            )
    return tuple(present)


def _arm(row: Mapping[str, Any], where: str) -> Arm:
    method = row.get("method")
    style = row.get("style")
    return Arm(
        model=read_text(row["model"], where, "model"),
        method="single" if absent(method) else read_text(method, where, "method"),
        budget=read_budget(row.get("budget"), where),
        style="" if absent(style) else read_text(style, where, "style"),
    )


def _draws(log: _Log) -> tuple[Array, int]:
    """(Q, R, K) int64 entry of the log behind every draw, -1 in holes; and the most draws that a query has."""
    order = {q: sorted(labels) for q, labels in log.labels.items()}
    most = max(map(len, order.values()))
    draws = math.lcm(*{len(labels) for labels in order.values()}, *{len(cell) for cell in log.cells.values()})
    if draws > MOST_DRAWS:
        draws = most
    table = np.full((len(log.queries), draws, len(log.arms)), -1)
    for (q, k), cell in log.cells.items():
        entries = [cell.get(label, -1) for label in order[q]]
        turns = [entries[r % len(entries)] for r in range(draws)]
        if -1 in turns:
            used = Counter(turns)
            for r, entry in enumerate(turns):
                if entry < 0:
                    turns[r] = min(cell.values(), key=used.__getitem__)
                    used[turns[r]] += 1
        table[q, :, k] = turns
    return table, most


def _gather(column: Array, table: Array) -> Array:
    """(Q, R, K) float32: a channel's numbers, zero in holes."""
    return np.where(table >= 0, column[table], 0.0).astype(np.float32)


def _means(places: Array, values: Array, named: Sequence[str], log: _Log, keep: Array) -> Channels:
    """(Q, K) float32 mean per channel over the entries to keep; NaN where there is none."""
    shape = len(log.queries), len(log.arms)
    flat = np.ravel_multi_index((places[keep, 0], places[keep, 1]), shape)
    counts = np.bincount(flat, minlength=shape[0] * shape[1])

    def mean(column: Array) -> Array:
        sums = np.bincount(flat, weights=column[keep], minlength=len(counts))
        means = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
        return np.asarray(means.reshape(shape), np.float32)

    return Channels(**{part: mean(values[:, i]) for i, part in enumerate(named)})


def _halves(places: Array, values: Array, named: Sequence[str], log: _Log) -> tuple[Channels, Channels]:
    """Means over the first and the last half of each query's draws; NaN where a cell has no draw in one of them."""
    first = {q: set(sorted(labels)[: len(labels) // 2]) for q, labels in log.labels.items()}
    early = np.array([draw in first[q] for q, _, draw in log.places])
    one, other = (_means(places, values, named, log, keep) for keep in (early, ~early))
    lost = np.isnan(one.quality) | np.isnan(other.quality)

    def both(half: Channels) -> Channels:
        return Channels(**{part: np.where(lost, np.float32(np.nan), array) for part, array in half.present().items()})

    return both(one), both(other)


def _catalog(arms: tuple[Arm, ...], recorded: Array, expected: Channels) -> ArmCatalog:
    """Arms with features: one-hot model, method and style; log2 budget, log mean dollars and mean tokens in [0, 1]."""
    labels = {part: [getattr(arm, part) for arm in arms] for part in ("model", "method", "style")}
    numbers: dict[str, Any] = {"log2_budget": np.log2([float(math.prod(arm.budget)) for arm in arms])}
    for part in ("dollars", "tokens"):
        array = getattr(expected, part)
        if array is not None:
            mean = array.sum(axis=0, dtype=np.float64) / recorded.sum(axis=0)
            if part == "tokens":
                numbers["expected_tokens"] = mean
            elif mean.min() > 0:
                numbers["log_dollars"] = np.log(mean)
    kept = {part: values for part, values in labels.items() if part == "model" or len(set(values)) > 1}
    varied = {part: column for part, column in numbers.items() if part != "log2_budget" or np.ptp(column) > 0}
    features, names = arm_features(kept, varied)
    texts = tuple(
        f"{arm.model}, {arm.method} with budget {' x '.join(map(str, arm.budget))}"
        + (f", {arm.style} prompt" if arm.style else "")
        for arm in arms
    )
    return ArmCatalog(arms, features, names, texts)


def _contexts(contexts: Any, log: _Log) -> tuple[dict[str, Array], Any]:
    """Named (Q, d) contexts, and where they come from."""
    if isinstance(contexts, Mapping):
        parts = {key: _table(value, f"contexts[{key!r}]") for key, value in contexts.items()}
        if parts and all(part.ndim == 2 for part in parts.values()):
            return {str(key): _of_queries(part, f"contexts[{key!r}]", log) for key, part in parts.items()}, "given"
        rows = {str(key): part for key, part in parts.items()}
        for query in log.queries:
            if query not in rows:
                raise ValueError(f"contexts: query {query!r} has none; expected one per query")
            if rows[query].ndim != 1 or rows[query].shape != rows[next(iter(log.queries))].shape:
                raise ValueError(f"contexts[{query!r}]: shape {rows[query].shape}, expected (d,), the same for all")
        return {"given": _of_queries(np.stack([rows[query] for query in log.queries]), "contexts", log)}, "given"
    if contexts is not None:
        return {"given": _of_queries(_table(contexts, "contexts"), "contexts", log)}, "given"
    constant = {"constant": np.ones((len(log.queries), 1), np.float32)}
    if not log.texts:
        warnings.warn("no contexts and no texts: every query has the same context, one constant column", stacklevel=3)
        return constant, "none: one constant column"
    for query in log.queries:
        if query not in log.texts:
            raise ValueError(f"query {query!r}: no row has its text, but others have one; expected all or none")
    from uis_env.worlds.text import embedded

    try:
        table, versions = embedded([log.texts[query] for query in log.queries])
    except ModuleNotFoundError as error:
        warnings.warn(f"every query has the same context, one constant column: {error}", stacklevel=3)
        return constant, "none: one constant column"
    return {"text": table}, {"text": "whitened components of the texts' embedding, log length, bias", **versions}


def _table(value: Any, where: str) -> Array:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: expected numbers in rows of equal length") from None


def _of_queries(table: Array, where: str, log: _Log) -> Array:
    """(Q, d) float32; ValueError unless it has that shape and is finite."""
    if table.ndim != 2 or len(table) != len(log.queries) or not table.shape[1]:
        raise ValueError(f"{where}: shape {table.shape}, expected ({len(log.queries)}, d), one row per query")
    lost = ~(np.abs(table) <= LARGEST).all(axis=1)
    if lost.any():
        raise ValueError(f"{where}: query {list(log.queries)[int(lost.argmax())]!r} has a number that is not finite")
    return table.astype(np.float32)
