"""Structured scores and deviations equal those of explicit joint vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.fusion import fuse, joint_rows, unit_features

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
