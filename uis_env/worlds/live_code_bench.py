"""LiveCodeBench: real correctness of many models on 1,055 coding problems, as models × N with unit tests as verifier.

Correct counts of ten samples were recorded by the benchmark's authors (CC BY-SA 4.0); they do not ship with this
package. Tokens and dollars are *assumed*, because the results record no usage: NOMINAL_TOKENS a sample at list prices.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uis_env.arms import Arm, ArmCatalog, arm_features
from uis_env.costs import ModelCard, Price, dollars, load_model_cards
from uis_env.estimators import orders, pass_at
from uis_env.listing import public
from uis_env.pools import Pool
from uis_env.world import Channels, World, fill_unrecorded, mean_ends
from uis_env.worlds.text import text_context

Array = NDArray[Any]

MODELS = (
    "GPT-4O-mini-2024-07-18",
    "Claude-3-Haiku",
    "GPT-4O-2024-08-06",
    "Claude-3.5-Sonnet-20241022",
    "GPT-4-Turbo-2024-04-09",
)
"""Five models with ten samples on every problem, of one price generation."""
BUDGETS = (1, 2, 4, 8)
NOMINAL_TOKENS = 600
"""Assumed completion tokens of a sample."""
EFFORTS = {"Low": (1, 2_000), "Med": (2, 6_000), "Medium": (2, 6_000), "High": (3, 15_000)}
"""Reasoning effort in a model's name: its level, and assumed completion tokens."""
CHARS_PER_TOKEN = 4
"""Assumed, to turn the length of a problem into prompt tokens."""
FILES = ("outcomes.csv.gz", "queries.csv.gz", "embeddings.npy")
PRICES = Path(__file__).parent / "data" / "live_code_bench.toml"
DEFAULTS: dict[str, Any] = {"cost": 10.0, "cost_channel": "dollars"}
"""A correct answer is worth USD 0.10: cost and quality both matter there (our choice)."""


class Counts(NamedTuple):
    """Samples of one model on Q problems: how many there are (one number), and how many are right, −1 if none."""

    samples: int
    correct: Array


def live_code_bench(
    path: Path | str | None = None,
    models: Sequence[str] = MODELS,
    efforts: Sequence[str] = (),
    budgets: Sequence[int] = BUDGETS,
    draws: int = 16,
    components: int = 8,
    seed: int = 0,
) -> World:
    """The world of LiveCodeBench code generation: quality is recorded, tokens and dollars are assumed.

    `single` (N = 1) and `best_of_n` take N of a model's samples; the benchmark's own unit tests choose among them, so
    quality is whether any of the N is right (an optimistic verifier, and no score channel: it would be the quality).
    A draw is a permutation of each (problem, model) pool, of which every N reads a prefix; expectations are exact
    (pass@N); halves are pass@N of the two halves of each pool, NaN where N exceeds a half. `effort` arms have one
    sample each, budget 1, 2, 3 for low, medium, high. Models that were not run on a problem are not recorded there.

    Args:
        path: folder with outcomes.csv.gz, queries.csv.gz and embeddings.npy; None looks in `$UIS_DATA/livecodebench`.
        models: names as in the results, with a price in `data/live_code_bench.toml`.
        efforts: models with effort levels, without the level: "O4-Mini", "O3-Mini-2025-01-31", "O1-2024-12-17 (N=1)".
        budgets: N of the samples.
        draws: R.
        components: whitened principal components of the problem embedding in the context, beside log length and bias.
        seed: of the draws and halves.

    Raises:
        FileNotFoundError: saying how to get the data, if it is not there.
        ValueError: naming file and row, model or argument.
    """
    folder = find_data(path)
    if not models and not efforts:
        raise ValueError("models and efforts are both empty, expected at least one model")
    if draws < 1:
        raise ValueError(f"draws is {draws}, expected at least 1")
    if not budgets or list(budgets) != sorted(set(budgets)) or budgets[0] < 1:
        raise ValueError(f"budgets is {list(budgets)}, expected rising numbers of samples >= 1")
    prices = read_prices([*models, *efforts])
    query_ids, chars = read_queries(folder / "queries.csv.gz")
    pools, groups = read_outcomes(folder / "outcomes.csv.gz", query_ids, models, efforts)
    embeddings = read_embeddings(folder / "embeddings.npy", len(query_ids))

    arms: list[Arm] = []
    tokens: list[float] = []
    drawn: list[Array] = []
    exact: list[Array] = []
    halves: tuple[list[Array], list[Array]] = ([], [])
    kept: dict[str, Array] = {}
    for name, pool in pools.items():
        key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")
        effort = split_effort(name) if name not in models else None
        sizes = budgets if effort is None else (1,)
        if max(sizes) > pool.samples:
            raise ValueError(f"model {name!r} has {pool.samples} samples a problem, too few for N = {max(sizes)}")
        # The pool is a row of c right and then S − c wrong samples, so place < c means right.
        order = orders(key, len(query_ids), draws, pool.samples)
        right = order < pool.correct[:, None, None]
        if effort is None:
            kept[name] = order
        half = pool.samples // 2
        shuffled = orders(key + 1, len(query_ids), 1, pool.samples)[:, 0] < pool.correct[:, None]
        parts = (shuffled[:, :half].sum(axis=1), shuffled[:, half : 2 * half].sum(axis=1))
        absent = pool.correct < 0
        for n in sizes:
            if effort is None:
                arms.append(Arm(name, "single" if n == 1 else "best_of_n", (n,)))
                tokens.append(n * NOMINAL_TOKENS)
            else:
                base, level = effort
                arms.append(Arm(base, "effort", (EFFORTS[level][0],)))
                tokens.append(EFFORTS[level][1])
            drawn.append(np.where(absent[:, None], np.nan, right[..., :n].any(axis=2)))
            exact.append(np.where(absent, 0.0, pass_at(pool.samples, np.maximum(pool.correct, 0), n)))
            for part, count in zip(halves, parts, strict=True):
                part.append(pass_at(half, count, n) if n <= half else np.full(len(query_ids), np.nan))

    spent = np.tile(np.array(tokens), (len(query_ids), 1))
    bills = [
        dollars(prices[arm.model], chars / CHARS_PER_TOKEN, 0, used) for arm, used in zip(arms, tokens, strict=True)
    ]
    paid = np.stack(bills, axis=1)
    filled, recorded = fill_unrecorded(with_costs(drawn, paid, spent), str(folder / "outcomes.csv.gz"))
    expected = with_costs(exact, np.where(recorded, paid, 0), np.where(recorded, spent, 0))
    return World(
        name="LiveCodeBench",
        simulated=False,
        catalog=make_catalog(arms, tokens, prices),
        contexts={"text": text_context(embeddings, chars.tolist(), components)},
        channels=filled,
        expected=expected,
        recorded=recorded,
        query_ids=query_ids,
        groups=groups,
        halves=(with_costs(halves[0], paid, spent), with_costs(halves[1], paid, spent)),
        cost_ends=mean_ends(expected),
        defaults=DEFAULTS,
        provenance={
            "source": "LiveCodeBench code generation, correct counts from the results history of its site",
            "licence": "CC BY-SA 4.0; not shipped with this package",
            "assumed": {
                "channels": ["dollars", "tokens"],
                "tokens": f"{NOMINAL_TOKENS} completion tokens a sample; by effort "
                + ", ".join(f"{level} {used}" for level, (_, used) in EFFORTS.items()),
                "prompt": f"characters / {CHARS_PER_TOKEN} tokens, charged once per query",
                "dollars": "list prices (data/live_code_bench.toml)",
            },
            "public": public((ModelCard(name, price=price) for name, price in prices.items()), NOMINAL_TOKENS, 512),
            "verifier": "the benchmark's own unit tests, which also define quality: optimistic",
            "expectation": "exact: pass@N from the correct counts",
            "draws": f"{draws} permutations of each (problem, model) pool, every N reads a prefix; seed {seed}",
            "halves": "pass@N of two halves of each pool, NaN where N exceeds a half",
            "context": f"{components} whitened principal components of a sentence embedding of the problem, over these "
            "problems; standardised log characters; bias",
            "sha256": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES},
        },
        pools=tuple(sample_pool(name, pools[name], chars) for name in kept),
        orders=tuple(kept.values()),
    )


def sample_pool(name: str, counts: Counts, chars: Array) -> Pool:
    """The samples of a model one by one: the right ones first, every program an answer of its own, tokens assumed.

    There is no score: the unit tests, which choose, are what `correct` says.
    """
    shape = (len(counts.correct), counts.samples)
    lost = np.where(counts.correct < 0, np.nan, 0.0)
    place = np.tile(np.arange(counts.samples, dtype=np.int32), (len(chars), 1))
    unknown = np.full(len(chars), np.nan)
    return Pool(
        model=name,
        style="",
        answer=np.where(lost[:, None] == 0, place, np.int32(-1)),
        correct=(place < counts.correct[:, None]) + lost[:, None],
        score=np.full(shape, np.nan),
        tokens=np.full(shape, float(NOMINAL_TOKENS)) + lost[:, None],
        prompt=chars / CHARS_PER_TOKEN,
        cached=np.zeros(len(chars)),
        prefill_ms=unknown,
        decode_ms=unknown,
    )


def with_costs(quality: Sequence[Array], paid: Array, spent: Array) -> Channels:
    """Stacks the arms' (Q, ...) qualities; adds (Q, K) dollars and tokens, NaN wherever quality is; float32."""
    table = np.stack(quality, axis=-1)
    axes = (slice(None), *[None] * (table.ndim - 2))
    costs = (np.where(np.isnan(table), np.nan, part[axes]).astype(np.float32) for part in (paid, spent))
    return Channels(table.astype(np.float32), **dict(zip(("dollars", "tokens"), costs, strict=True)))


def find_data(path: Path | str | None) -> Path:
    """The folder with the data, from the argument or `$UIS_DATA/livecodebench`; FileNotFoundError if there is none."""
    base = os.environ.get("UIS_DATA")
    folder = Path(path) if path is not None else Path(base) / "livecodebench" if base else None
    missing = FILES if folder is None else [name for name in FILES if not (folder / name).is_file()]
    if folder is None or missing:
        place = "no folder was given" if folder is None else f"{folder} has no {', '.join(missing)}"
        raise FileNotFoundError(
            f"LiveCodeBench data: {place}. It is not shipped (CC BY-SA 4.0). Give path=, or set UIS_DATA to a folder "
            "with livecodebench/ in it: outcomes.csv.gz (question_id, dataset, model, method, n_samples, n_correct, "
            "difficulty; counts as published on the benchmark's site), queries.csv.gz (question_id, text_chars) and "
            "embeddings.npy (one row per query, any sentence embedding of the problem)"
        )
    return folder


def split_effort(name: str) -> tuple[str, str] | None:
    """("O4-Mini", "High") of "O4-Mini (High)"; None if the name carries no effort level."""
    match = re.fullmatch(rf"(.+) \(({'|'.join(EFFORTS)})\)", name)
    return (match[1], match[2]) if match else None


def read_prices(models: Sequence[str]) -> dict[str, Price]:
    """The assumed list price of each model; ValueError if one has none, or appears twice."""
    cards = load_model_cards(PRICES)
    prices = {}
    for name in models:
        card = cards.get(name)
        if card is None or card.price is None:
            raise ValueError(f"model {name!r} has no price; {PRICES.name} has {', '.join(cards)}")
        if name in prices:
            raise ValueError(f"model {name!r} is asked for twice")
        prices[name] = card.price
    return prices


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields ("file:line", row) of a gzipped CSV with at least these columns."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            absent = [name for name in columns if name not in (reader.fieldnames or ())]
            if absent:
                raise ValueError(f"{path}: no column {', '.join(absent)}")
            for row in reader:
                if any(row[name] is None for name in columns):
                    raise ValueError(f"{path}:{reader.line_num}: too few fields")
                yield f"{path}:{reader.line_num}", row
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: expected a gzipped CSV in UTF-8: {error}") from None


def whole_number(where: str, row: Mapping[str, str], column: str, least: int) -> int:
    """The integer in a column; ValueError naming file, line and column unless it is one, and at least `least`."""
    text = row[column]
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise ValueError(f"{where}: {column} is {text!r}, expected a whole number >= {least}")
    return int(text)


def read_queries(path: Path) -> tuple[tuple[str, ...], Array]:
    """Question ids, in the order of the embeddings' rows, and (Q,) float64 characters of each problem."""
    chars: dict[str, int] = {}
    for where, row in read_rows(path, ("question_id", "text_chars")):
        if row["question_id"] in chars:
            raise ValueError(f"{where}: question_id {row['question_id']!r} appears twice")
        chars[row["question_id"]] = whole_number(where, row, "text_chars", 1)
    if not chars:
        raise ValueError(f"{path}: no query")
    return tuple(chars), np.array(list(chars.values()), np.float64)


def read_outcomes(
    path: Path, query_ids: tuple[str, ...], models: Sequence[str], efforts: Sequence[str]
) -> tuple[dict[str, Counts], tuple[str, ...]]:
    """The pools of the models, then of the effort levels from low to high, by name in the results; and difficulties."""
    place = {query_id: i for i, query_id in enumerate(query_ids)}
    groups = ["unknown"] * len(query_ids)
    counts: dict[str, dict[int, tuple[int, int]]] = {}
    columns = ("question_id", "dataset", "model", "method", "n_samples", "n_correct", "difficulty")
    for where, row in read_rows(path, columns):
        if row["dataset"] != "codegeneration" or row["method"] != "single":
            continue
        if row["question_id"] not in place:
            raise ValueError(f"{where}: question_id {row['question_id']!r} is not in queries.csv.gz")
        query, name = place[row["question_id"]], row["model"]
        groups[query] = row["difficulty"]
        effort = split_effort(name)
        if name not in models and (effort is None or effort[0] not in efforts):
            continue
        samples, correct = whole_number(where, row, "n_samples", 1), whole_number(where, row, "n_correct", 0)
        if correct > samples:
            raise ValueError(f"{where}: {correct} of {samples} samples are correct")
        if query in counts.setdefault(name, {}):
            raise ValueError(f"{where}: model {name!r} appears twice on question {row['question_id']!r}")
        counts[name][query] = (samples, correct)

    graded = [name for name in counts if name not in models]
    for wanted in models:
        if wanted not in counts:
            raise ValueError(f"{path}: no single code generation of model {wanted!r}")
    for wanted in efforts:
        if not any(name.startswith(f"{wanted} (") for name in graded):
            raise ValueError(f"{path}: no effort level of model {wanted!r}")
    graded.sort(key=lambda name: (efforts.index(name.rsplit(" (", 1)[0]), EFFORTS[name.rsplit(" (", 1)[1][:-1]][0]))
    pools: dict[str, Counts] = {}
    for name in (*models, *graded):
        sizes = {samples for samples, _ in counts[name].values()}
        if len(sizes) > 1:
            raise ValueError(f"{path}: model {name!r} has {min(sizes)} to {max(sizes)} samples, expected one number")
        found = Counts(sizes.pop(), np.full(len(query_ids), -1))
        found.correct[list(counts[name])] = [right for _, right in counts[name].values()]
        for other, pool in pools.items():
            if pool.samples > 1 and np.array_equal(pool.correct, found.correct):
                raise ValueError(f"{path}: {other!r} and {name!r} agree everywhere: one model under two names")
        pools[name] = found
    return pools, tuple(groups)


def read_embeddings(path: Path, queries: int) -> Array:
    """(Q, D) float64 sentence embeddings; ValueError unless there is one finite row per query."""
    try:
        table = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: expected an array without pickled objects: {error}") from None
    if table.ndim != 2 or len(table) != queries or not np.isfinite(table).all():
        raise ValueError(f"{path}: {table.dtype}{list(table.shape)}, expected {queries} finite rows")
    return np.asarray(table, np.float64)


def make_catalog(arms: Sequence[Arm], tokens: Sequence[float], prices: Mapping[str, Price]) -> ArmCatalog:
    """The arms: one-hot model and method; log2 of the budget, log output price and assumed log tokens in [0, 1]."""
    features, names = arm_features(
        labels={"model": [arm.model for arm in arms], "method": [arm.method for arm in arms]},
        numbers={
            "log2_budget": np.log2([arm.budget[0] for arm in arms]),
            "log_price": np.log([prices[arm.model].output for arm in arms]),
            "log_tokens": np.log(tokens),
        },
    )
    levels = {1: "low", 2: "medium", 3: "high"}

    def describe(arm: Arm) -> str:
        n = arm.budget[0]
        if arm.method == "effort":
            return f"{arm.model}, one sample with {levels[n]} reasoning effort"
        return f"{arm.model}, " + ("one sample" if n == 1 else f"{n} samples, one that passes the unit tests")

    return ArmCatalog(
        arms=tuple(arms), features=features, feature_names=names, descriptions=tuple(describe(arm) for arm in arms)
    )
