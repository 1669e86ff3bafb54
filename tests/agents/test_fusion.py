"""Structured scores and deviations equal those of explicit joint vectors."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.fusion import _basis, coordinates, fuse, joint_rows, split, unit_features

KINDS = ("concat", "kronecker", "hadamard", "arm", "ids")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arms", [4, 40])
def test_scores_and_deviations_equal_brute_force(spec_factory, kind, arms):
    spec, random = spec_factory(arms=arms), np.random.default_rng(0)
    with jax.enable_x64(True):
        fused = fuse(spec, kind)
        xs = jnp.asarray(random.normal(size=(3, spec.context)))
        weights = jnp.asarray(random.normal(size=(2, fused.dim)))
        root = jnp.asarray(random.normal(size=(fused.dim, fused.dim)))
        rows = np.asarray(joint_rows(fused, xs)).reshape(3, arms, fused.dim)
        for x, phi in zip(xs, rows, strict=True):
            np.testing.assert_allclose(fused.scores(weights, x), np.asarray(weights) @ phi.T, rtol=1e-9, atol=1e-12)
            expected = np.linalg.norm(phi @ np.asarray(root).T, axis=1)
            np.testing.assert_allclose(fused.deviations(root, x), expected, rtol=1e-7)
            np.testing.assert_allclose(fused.features(x, jnp.asarray(2)), phi[2], rtol=1e-12)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("kind", ["concat", "kronecker"])
def test_grids_change_nothing(spec_factory, kind, normalise):
    """Models x methods x budgets, the dearest first; a price of a model's own, and the logarithm of the budget."""
    triples = np.array(list(itertools.product(range(3), range(4), range(8))))
    hot = [np.eye(size)[column] for size, column in zip((3, 4), triples.T, strict=False)]
    numbers = np.stack([np.array([3.0, -1.0, 0.5])[triples[:, 0]], np.log2(1 + triples[:, 2])], axis=1)
    spec = spec_factory(arms=len(triples), features=np.concatenate([*hot, numbers], axis=1).astype(np.float32))
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        fused = fuse(spec, kind, normalise)
        assert fused.grid is not None and fused.grid.scale.shape == (12, 8)
        assert len(fused.arms) * fused.dim > fused.arms.shape[1] * (len(fused.arms) + fused.dim)  # it is used
        x, root = jnp.asarray(random.normal(size=spec.context)), random.normal(size=(fused.dim, fused.dim))
        phi = np.asarray(joint_rows(fused, x[None]))
        np.testing.assert_allclose(
            fused.deviations(jnp.asarray(root), x), np.linalg.norm(phi @ root.T, axis=1), rtol=1e-6
        )
        gram = root[: fused.arms.shape[1], : fused.arms.shape[1]]
        gram = gram.T @ gram
        expected = np.einsum("ke,ef,kf->k", fused.arms, gram, fused.arms)
        np.testing.assert_allclose(fused.grid.variances(jnp.asarray(gram)), expected, rtol=1e-6)


def test_splits_are_the_evenest_and_only_of_grids():
    first, second = np.random.default_rng(0).normal(size=(2, 6, 3))
    rows = (first[:, None] + second[:4]).reshape(24, 3)
    parts = split(rows)
    assert parts is not None and [len(part) for part in parts] == [6, 4]
    np.testing.assert_allclose((parts[0][:, None] + parts[1]).reshape(24, 3), rows, atol=1e-12)
    assert split(np.random.default_rng(1).permutation(rows)) is None
    rows[7, 2] += 0.1
    assert split(rows) is None
    assert split(rows * [1e6, 1.0, 1.0]) is None
    assert split(rows[:5]) is None


def test_unit_features_have_length_one_whatever_the_scale():
    random = np.random.default_rng(0)
    hot = np.eye(3)[random.integers(3, size=8)]
    numbers = random.normal(size=(8, 2))
    one = unit_features(np.hstack([hot, numbers]).astype(np.float32))
    other = unit_features(np.hstack([hot, 100 * numbers + 7]).astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1)
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_does_not_fit_is_refused(spec_factory):
    with pytest.raises(ValueError, match="as many query as arm features, got 5 and 4"):
        fuse(spec_factory(context=5), "hadamard")
    with pytest.raises(ValueError, match="fusion is 'sum', expected 'concat'"):
        fuse(spec_factory(), "sum")


@pytest.mark.parametrize("kind", ["concat", "kronecker", "arm"])
def test_arms_without_features_are_all_alike(spec_factory, kind):
    """One arm's text tells it from no other, so it has no feature at all."""
    fused = fuse(spec_factory(arms=1, features=np.zeros((1, 0), np.float32)), kind)
    x = jnp.asarray([0.3, -1.0, 0.5, 1.0])
    assert fused.dim == {"concat": 4, "kronecker": 4, "arm": 1}[kind]
    np.testing.assert_allclose(
        fused.deviations(jnp.eye(fused.dim), x), jnp.linalg.norm(fused.features(x, 0)), rtol=1e-6
    )


@given(seed=st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_coordinates_do_not_depend_on_how_a_library_turns_singular_vectors(seed):
    """Signs, rotations of axes that share a singular value, and the last bits of the features change nothing."""
    random = np.random.default_rng(seed)
    triples = np.array(list(itertools.product(range(3), range(2), range(4))))
    hot = [np.eye(size)[column] for size, column in zip((3, 2, 4), triples.T, strict=True)]
    rows = np.concatenate([*hot, random.normal(size=(len(triples), 1))], axis=1)
    found = coordinates(rows)
    turned = np.linalg.qr(random.normal(size=(24, 24)))[0]  # other left vectors, and another order of the arithmetic
    np.testing.assert_allclose(rows @ _basis(turned @ rows), found, atol=1e-7)
    noise = 1 + 1e-15 * random.normal(size=rows.shape)
    np.testing.assert_allclose(coordinates(rows * noise), found, atol=1e-7)
    np.testing.assert_allclose(found @ found.T, rows @ rows.T, atol=1e-9)
    basis = _basis(rows)
    largest = np.abs(basis).argmax(axis=0)
    assert (basis[largest, np.arange(basis.shape[1])] > 0).all()
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-9)


def test_other_signs_of_the_singular_vectors_give_the_same_coordinates(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(6, 4))
    found, svd = coordinates(rows), np.linalg.svd
    monkeypatch.setattr(
        np.linalg, "svd", lambda *a, **k: tuple(part * s for part, s in zip(svd(*a, **k), (-1, 1, -1), strict=True))
    )
    np.testing.assert_allclose(coordinates(rows), found, atol=1e-12)
