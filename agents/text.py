"""Features of arms from their one-line descriptions: what a model knows of an arm it has never played."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"\w(?:[\w.\-]*\w)?")
"""A word or number; "0.6", "sub-tree" and "qwen3-0.6b" are one word each."""


def text_features(descriptions: Sequence[str]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """(K, F) float32 indicators of the words and pairs of neighbouring words in each description, and their names.

    An n-gram that stands in all descriptions tells nothing and is left out; n-grams that stand in the same ones count
    once, under the name of the first. Pairs are needed: "4 sub-trees, 2 candidates" and "2 sub-trees, 4 candidates"
    hold the same words, so an encoder that averages word vectors gives both arms the same features.

    Raises:
        ValueError: if two descriptions hold the same n-grams.
    """
    grams = [_ngrams(text) for text in descriptions]
    columns: dict[tuple[bool, ...], str] = {}
    for gram in dict.fromkeys(gram for held in grams for gram in held):
        column = tuple(gram in held for held in grams)
        if not all(column):
            columns.setdefault(column, gram)
    table = np.array(list(columns), np.float32).T.reshape(len(descriptions), -1)
    seen: dict[bytes, int] = {}
    for i, row in enumerate(table):
        first = seen.setdefault(row.tobytes(), i)
        if first != i:
            raise ValueError(f"arms {first} and {i} cannot be told apart by their text: {descriptions[i]!r}")
    return table, tuple(columns.values())


def _ngrams(text: str) -> dict[str, None]:
    """Words and pairs of neighbouring words, in order."""
    words = WORD.findall(text.lower())
    return dict.fromkeys([*words, *(" ".join(pair) for pair in pairwise(words))])
