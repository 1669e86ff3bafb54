"""Text features of queries, for builders of worlds (a world that is played only reads the stored result)."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
WEIGHTS = "weights/l2_supercat_256.safetensors"
COMPONENTS = 8
"""Whitened components of a context, where nobody asks for another number."""
TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"


def embed(texts: Sequence[str]) -> tuple[Array, dict[str, str]]:
    """(Q, 256) float64 mean of wordllama's static token vectors, and what made it (versions, sha256 of the weights).

    The package's own loader looks for the tokenizer on the network, so its two files are read from where it is
    installed. Needs the extra `build`.

    Raises:
        ModuleNotFoundError: if wordllama is not installed.
    """
    spec = importlib.util.find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("text features need wordllama: pip install 'uis-env[build]'")
    from importlib.metadata import version

    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    folder = Path(spec.origin).parent
    (vectors,) = load_file(folder / WEIGHTS).values()
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    nothing = np.zeros((1, vectors.shape[1]))
    table = np.stack([(vectors[text.ids] if text.ids else nothing).astype(np.float64).mean(axis=0) for text in encoded])
    return table, {
        "wordllama": version("wordllama"),
        "tokenizers": version("tokenizers"),
        "weights_sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
    }


def embedded(texts: Sequence[str], components: int = COMPONENTS) -> tuple[Array, dict[str, str]]:
    """(Q, C + 2) float32 context of any texts, and what made it: `text_context` of `embed`.

    C is `components`, or fewer where the texts' vectors span fewer dimensions. Needs the extra `build`.

    Example:
        >>> from uis_env.worlds.text import embedded
        >>> table, versions = embedded(["What is 2 + 2?", "Spell cat backward.", "Is 7 prime?"])
        >>> table.shape
        (3, 4)
    """
    table, versions = embed(texts)
    values = np.linalg.svd(table - table.mean(axis=0), compute_uv=False)
    return text_context(table, [len(text) for text in texts], min(components, _rank(values))), versions


def _rank(values: Array) -> int:
    """How many singular values, in falling order, are not zero but for rounding."""
    return int((values > max(values[0] * 1e-10, 1e-12)).sum()) if values.size else 0


def whiten(table: Array, components: int) -> Array:
    """(Q, components) float64: the first principal components of (Q, D), each with mean 0 and variance 1.

    An SVD leaves signs open; here the loading of largest magnitude is positive, so that rebuilding gives the same.

    Raises:
        ValueError: if the table does not have that many components.
    """
    centred = table - table.mean(axis=0)
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    rank = _rank(values)
    if components > rank:
        raise ValueError(f"{components} components asked for, but the table has rank {rank}")
    signs = np.sign(right[np.arange(components), np.abs(right[:components]).argmax(axis=1)])
    return np.asarray(left[:, :components] * signs * np.sqrt(len(table)))


def text_context(table: Array, lengths: Sequence[int], components: int) -> Array:
    """(Q, components + 2) float32: whitened components, standardised log length (clipped at ±4) and a bias of 1."""
    logs = np.log(np.maximum(np.asarray(lengths, np.float64), 1))
    length = np.clip((logs - logs.mean()) / (logs.std() or 1.0), -4, 4)
    return np.column_stack([whiten(table, components), length, np.ones(len(table))]).astype(np.float32)
