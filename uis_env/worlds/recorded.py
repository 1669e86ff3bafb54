"""The recorded worlds: what local LLMs answered to verifiable queries, as tables of (model, method, budget, style).

The tables ship with the package. `python -m uis_env.worlds.recorded --world NAME --pools DIR` builds one anew from raw
pools (needs the extra `build` for the text features).
"""

from __future__ import annotations

import argparse
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uis_env.arms import Arm, ArmCatalog, arm_features, one_hot
from uis_env.costs import ModelCard, load_model_cards
from uis_env.estimators import CONFIDENCE, Returned, orders
from uis_env.listing import public
from uis_env.pools import Pool, Query, read_pool, read_queries
from uis_env.sampled import costed, shared_prefix, tabulate_pools
from uis_env.stored import load_world, save_world
from uis_env.world import Channels, World, mean_ends
from uis_env.worlds.text import embed, text_context

Array = NDArray[Any]
DATA = Path(__file__).parent / "data"
MODEL_TABLE = DATA / "recorded_models.toml"
DRAWS = 16
COMPONENTS = 8
MANY_COMPONENTS = 32
MODELS = {  # recorded name -> name in the catalog, title; by size
    "smollm2-135m-instruct-q4_1": ("smollm2-135m", "SmolLM2 Instruct"),
    "gemma-3-270m-base-q4_k_m": ("gemma-3-270m", "Gemma 3 (base model)"),
    "qwen2.5-coder-0.5b-instruct-q4_k_m": ("qwen2.5-coder-0.5b", "Qwen2.5 Coder Instruct"),
    "qwen2.5-coder-1.5b-instruct-q4_k_m": ("qwen2.5-coder-1.5b", "Qwen2.5 Coder Instruct"),
}
LICENCES = {
    "smollm2-135m": "Apache-2.0",
    "gemma-3-270m": "Gemma Terms of Use",
    "qwen2.5-coder-0.5b": "Apache-2.0 upstream; run from a community package, outcomes only",
    "qwen2.5-coder-1.5b": "Apache-2.0 upstream; run from a community package, outcomes only",
}
STYLES = {"direct": "four worked examples, answer only", "steps": "no examples, step by step"}
BUDGETS: dict[str, dict[str, tuple[int, ...]]] = {
    "direct": {
        "single": (1,),
        "best_of_n": (2, 4, 8, 16),
        "weighted_best_of_n": (4, 8, 16),
        "majority": (4, 8, 16),
        "adaptive_consistency": (16,),
    },
    "steps": {
        "single": (1,),
        "best_of_n": (2, 4, 8),
        "weighted_best_of_n": (4, 8),
        "majority": (4, 8),
        "adaptive_consistency": (8,),
    },
}
METHOD_TEXT = {
    "single": "one sample",
    "best_of_n": "{n} samples, the one the model is most confident in",
    "weighted_best_of_n": "{n} samples, the answer with the greatest sum of confidences",
    "majority": "{n} samples, the most frequent answer",
    "adaptive_consistency": "samples one by one until the majority is settled, at most {n}",
}
DEFAULTS: dict[str, Any] = {"cost": 1.0, "cost_channel": "eflops"}
"""The middle preference of `paper_configs/quickstart.toml`: a correct answer is worth a tera-eFLOP."""


ORIGIN: dict[str, dict[str, str]] = {
    "Recorded": {
        "source": "recorded by this project on 2026-11-22 with the llama.cpp server of xllamacpp 2026.10 on a 2-core "
        "machine without a GPU, temperature 0.8; queries made and graded by reasoning-gym 0.1.25 (Apache-2.0)",
        "recorder": "a script that came before `python -m uis_env.live record` and asked in the same way (all samples "
        "of a query in one request). Kept, not recorded again: our recorder needs about two hours for SmolLM2 alone on "
        "that machine while it is busy, and qwen2.5-coder comes from a package without a licence text, so a new table "
        "would mix recorders",
    },
    "Recorded-v1": {
        "source": "recorded by this project on 2026-11-27 with the llama.cpp server of xllamacpp 2026.10 on a 2-core "
        "machine without a GPU, temperature 0.8; queries of 23 task families (31 families and levels) made and graded "
        "by reasoning-gym 0.1.25 (Apache-2.0); levels were chosen after a pilot of four queries each, before anything "
        "else was computed",
        "recorder": "a script that asks as `python -m uis_env.live record` does: all samples of a query in one request",
    },
}
"""Where the worlds of this module come from, by name."""


def recorded() -> World:
    """UIS/Recorded-v0 as it ships: three models, 378 queries of nine task families."""
    return _shipped("Recorded")


def recorded_v1() -> World:
    """UIS/Recorded-v1 as it ships: four models, 1,082 queries of 23 task families, direct prompts only."""
    return _shipped("Recorded-v1")


def _shipped(name: str) -> World:
    """A world as it ships, with what is public of its models."""
    world, cards = load_world(DATA / name), load_model_cards(MODEL_TABLE)
    known = public(cards[model] for model in world.catalog.models)
    return replace(world, provenance={**world.provenance, "public": known})


def build(folder: Path, name: str = "Recorded") -> World:
    """Builds a world from a folder of raw pools (`queries.jsonl` and one `*.jsonl.gz` per model and style).

    Args:
        folder: the raw pools.
        name: a key of ORIGIN.

    Raises:
        ValueError: naming the file, row or model that is not as expected.
    """
    queries = read_queries(folder / "queries.jsonl")
    query_ids = tuple(query.query_id for query in queries)
    cards = load_model_cards(MODEL_TABLE)
    pools = read_pools(folder, query_ids)
    arms = [
        Arm(pool.model, method, (n,), pool.style)
        for pool in pools
        for method, budgets in BUDGETS[pool.style].items()
        for n in budgets
    ]
    permuted = tuple(orders(number, len(queries), DRAWS, pool.size) for number, pool in enumerate(pools))

    def costs(arm: Arm, pool: Pool, returned: Returned) -> Channels:
        return costed(cards[arm.model], pool, returned)

    table = tabulate_pools(arms, pools, permuted, costs, str(folder))
    contexts, versions = _contexts(queries)
    return World(
        name=name,
        simulated=False,
        catalog=catalog(arms, table.expected, cards),
        contexts=contexts,
        channels=table.channels,
        expected=table.expected,
        recorded=table.recorded,
        query_ids=query_ids,
        groups=tuple(query.family for query in queries),
        halves=table.halves,
        cost_ends=mean_ends(table.expected),
        defaults=DEFAULTS,
        provenance=_provenance(name, folder, pools, versions),
        pools=tuple(pools),
        orders=permuted,
    )


def read_pools(folder: Path, query_ids: tuple[str, ...]) -> list[Pool]:
    """Every pool in a folder, by its model's name in the catalog: models by size, `direct` before `steps`."""
    found: dict[tuple[int, str], Pool] = {}
    known = list(MODELS)
    for path in sorted(folder.glob("*.jsonl.gz")):
        pool = read_pool(path, query_ids)
        if pool.model not in MODELS:
            raise ValueError(f"{path}: unknown model {pool.model!r}, expected one of {', '.join(known)}")
        if pool.style not in BUDGETS:
            raise ValueError(f"{path}: unknown prompting style {pool.style!r}, expected one of {', '.join(BUDGETS)}")
        most = max(max(budgets) for budgets in BUDGETS[pool.style].values())
        if pool.size < most:
            raise ValueError(f"{path}: {pool.size} samples a query, expected at least {most}")
        place = (known.index(pool.model), pool.style)
        if place in found:
            raise ValueError(f"{path}: a second pool of {pool.model!r} in style {pool.style!r}")
        found[place] = pool
    if not found:
        raise ValueError(f"{folder}: expected at least one *.jsonl.gz")
    return [replace(found[place], model=MODELS[found[place].model][0]) for place in sorted(found)]


def catalog(arms: Sequence[Arm], expected: Channels, cards: Mapping[str, ModelCard]) -> ArmCatalog:
    """The arms with features: one-hots, and numbers scaled to [0, 1] over the catalog."""
    titles = dict(MODELS.values())
    tokens = expected.tokens
    assert tokens is not None
    features, names = arm_features(
        labels={
            "model": [arm.model for arm in arms],
            "method": [arm.method for arm in arms],
            "style": [arm.style for arm in arms],
        },
        numbers={
            "log2_n": np.log2([arm.budget[0] for arm in arms]),
            "log_params": np.log([cards[arm.model].params or math.nan for arm in arms]),
            "log_price": np.log([price.output if (price := cards[arm.model].price) else math.nan for arm in arms]),
            "expected_tokens": tokens.astype(np.float64).mean(axis=0),
        },
    )
    return ArmCatalog(
        arms=tuple(arms),
        features=features,
        feature_names=names,
        descriptions=tuple(
            f"{titles[arm.model]}, {(cards[arm.model].params or math.nan) / 1e6:.0f}M parameters, 4-bit; "
            f"{STYLES[arm.style]}; {METHOD_TEXT[arm.method].format(n=arm.budget[0])}"
            for arm in arms
        ),
    )


def _contexts(queries: Sequence[Query]) -> tuple[dict[str, Array], dict[str, str]]:
    """The named contexts, and the versions of what made them."""
    table, versions = embed([query.question for query in queries])
    lengths = [len(query.question) for query in queries]
    text = text_context(table, lengths, COMPONENTS)
    families, _ = one_hot([query.family for query in queries])
    # Levels are named by the generator's settings (`n63`, `d1t2`); within a family larger numbers are harder.
    levels: dict[str, set[str]] = {}
    for query in queries:
        levels.setdefault(query.family, set()).add(query.level)
    ordered = {family: sorted(names, key=_numbers) for family, names in levels.items()}
    rank = [ordered[q.family].index(q.level) / max(1, len(ordered[q.family]) - 1) for q in queries]
    return {
        "text": text,
        "family": np.column_stack([text, families, np.array(rank, np.float32)]),
        "text32": text_context(table, lengths, MANY_COMPONENTS),
    }, versions


def _numbers(level: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", level)]


def _provenance(name: str, folder: Path, pools: Sequence[Pool], versions: Mapping[str, str]) -> dict[str, Any]:
    recorded_as = {name: model for model, (name, _) in MODELS.items()}
    return {
        **ORIGIN[name],
        "raw_sha256": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted([folder / "queries.jsonl", *folder.glob("*.jsonl.gz")])
        },
        "licences": {model: LICENCES[model] for model in dict.fromkeys(pool.model for pool in pools)},
        "expectation": "exact for every arm and channel: over all orders of the pool, without replacement",
        "draws": f"{DRAWS} independent permutations of each (query, model, style) pool; every method and budget reads "
        "its prefix; Philox generators keyed by the pool's place in `pools`",
        "halves": "expectations from the first and the second half of each pool's samples; NaN where the budget is "
        "larger than a half",
        "pools": [
            {
                "model": pool.model,
                "recorded_model": recorded_as[pool.model],
                "style": pool.style,
                "samples": pool.size,
                "shared_prefix_tokens": shared_prefix(pool),
                "recorded_cached_tokens_mean": float(round(pool.cached.mean(), 3)),
                "prefill_ms_per_token": float(round(np.median(pool.prefill_ms), 3)),
                "decode_ms_per_token": float(round(np.median(pool.decode_ms), 3)),
            }
            for pool in pools
        ],
        "choices": {
            "quality": "1 if the returned answer is correct, as recorded (the grader is lenient on some small "
            "probability questions)",
            "score": "exp(mean log-probability) of the returned sample, the model's own confidence; for voting methods "
            "the mean over the samples that gave the answer; never the graded score",
            "vote": "the extracted answer as recorded, outer blanks removed; an empty one never votes; ties go to the "
            "tied sample drawn first, which is fair among equally frequent answers",
            "adaptive_consistency": f"Aggarwal et al. (arXiv 2305.11860), Beta rule, confidence {CONFIDENCE}; samples "
            "are drawn one after another",
            "prompt": "charged once per query and shared by its samples; the prefix common to all queries of a pool is "
            "taken to be in the server's cache (shared_prefix_tokens, at the cached price and without prefill), the "
            "rest is not; recorded cache hits depend on the order of recording and are not used beyond that",
            "dollars": "prices by parameter count, our choice (recorded_models.toml); local models have no list price",
            "eflops": "Kinetics (arXiv 2506.05333) decoding cost with sequences of unequal length, plus 2·P per "
            "uncached prompt token; tera-eFLOPs, 156 FLOPs per byte",
            "latency": "modelled, not measured: median milliseconds per uncached prompt token and per decoded token of "
            "the pool (the machine was busy, samples were decoded side by side), the slowest of parallel samples, the "
            "sum of sequential ones",
            "contexts": f"text: {COMPONENTS} whitened principal components of wordllama's mean token vector (over "
            f"these queries), standardised log characters, bias; text32: {MANY_COMPONENTS} components; family: text, "
            "one-hot family, level from 0 to 1",
            "features": "one-hot model, method, style; log2 N, log parameters, log output price and expected tokens, "
            "each scaled to [0, 1] over the catalog",
        },
        "versions": {"numpy": version("numpy"), **versions},
        "public": public(load_model_cards(MODEL_TABLE)[model] for model in dict.fromkeys(pool.model for pool in pools)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Builds a table and writes it."""
    parser = argparse.ArgumentParser(prog="python -m uis_env.worlds.recorded", description=main.__doc__)
    parser.add_argument("--world", choices=list(ORIGIN), default="Recorded", help="which one (default: Recorded)")
    parser.add_argument("--pools", type=Path, required=True, help="folder of the raw pools")
    parser.add_argument("--out", type=Path, help="folder of the world (default: in the package)")
    options = parser.parse_args(arguments)
    world, out = build(options.pools, options.world), options.out or DATA / options.world
    save_world(world, out)
    queries, draws, arms = world.channels.quality.shape
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{world.name}: {queries} queries, {draws} draws, {arms} arms, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
