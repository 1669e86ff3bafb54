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
    table = np.stack([vectors[text.ids].astype(np.float64).mean(axis=0) for text in encoded])
    return table, {
        "wordllama": version("wordllama"),
        "tokenizers": version("tokenizers"),
        "weights_sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
    }


def whiten(table: Array, components: int) -> Array:
    """(Q, components) float64: the first principal components of (Q, D), each with mean 0 and variance 1.

    An SVD leaves signs open; here the loading of largest magnitude is positive, so that rebuilding gives the same.

    Raises:
        ValueError: if the table does not have that many components.
    """
    centred = table - table.mean(axis=0)
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    rank = int((values > values[0] * 1e-10).sum()) if values.size else 0
    if components > rank:
        raise ValueError(f"{components} components asked for, but the table has rank {rank}")
    signs = np.sign(right[np.arange(components), np.abs(right[:components]).argmax(axis=1)])
    return np.asarray(left[:, :components] * signs * np.sqrt(len(table)))


def text_context(table: Array, lengths: Sequence[int], components: int) -> Array:
    """(Q, components + 2) float32: whitened components, standardised log length (clipped at ±4) and a bias of 1."""
    logs = np.log(np.asarray(lengths, np.float64))
    length = np.clip((logs - logs.mean()) / logs.std(), -4, 4)
    return np.column_stack([whiten(table, components), length, np.ones(len(table))]).astype(np.float32)
