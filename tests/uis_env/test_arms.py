import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uis_env.arms import Arm, ArmCatalog, arm_features, one_hot

ARMS = (
    Arm("small", "single", (1,)),
    Arm("small", "best_of_n", (4,)),
    Arm("large", "single", (1,)),
    Arm("large", "tree_search", (4, 2, 1)),
)


def catalog(arms=ARMS, **changes):
    parts = {
        "arms": arms,
        "features": np.arange(len(arms), dtype=np.float32)[:, None],
        "feature_names": ("place",),
        "descriptions": tuple(arm.name for arm in arms),
    }
    return ArmCatalog(**(parts | changes))


def test_ids_and_names_are_inverse():
    arms = catalog()
    assert [arms.id(*arm) for arm in arms.arms] == [0, 1, 2, 3]
    assert arms.id("small", "best_of_n", 4) == arms.id("small", "best_of_n", [4]) == 1
    assert arms.arms[3].name == "large/tree_search@4x2x1"
    assert arms.models == ("small", "large") and arms.model_index.tolist() == [0, 0, 1, 1]
    assert arms.methods == ("single", "best_of_n", "tree_search")
    assert arms.budgets == ((1,), (4,), (4, 2, 1))


def test_unknown_arm_says_what_there_is():
    with pytest.raises(KeyError, match=r"unknown arm 'small/single@2'; models: small, large; .*budgets: 1, 4, 4x2x1"):
        catalog().id("small", "single", 2)


def test_styles_are_a_part_of_the_arm():
    arms = catalog((*(Arm("small", "majority", (n,), s) for n in (4, 8) for s in ("direct", "steps")), ARMS[0]))
    assert [arm.name for arm in arms.arms[:2]] == ["small/majority-direct@4", "small/majority-steps@4"]
    assert arms.id("small", "majority", 8, "steps") == 3
    assert arms.id("small", "single", 1) == arms.id("small", "single", 1, "") == 4
    with pytest.raises(KeyError, match=r"'small/majority@8' is there in several styles: direct, steps"):
        arms.id("small", "majority", 8)
    with pytest.raises(KeyError, match=r"unknown arm 'small/single-steps@1'; .*styles: direct, steps"):
        arms.id("small", "single", 1, "steps")
    assert arms.styles == ("direct", "steps", "") and arms.methods == ("majority", "single")
    assert arms.recipes == (("majority", "direct"), ("majority", "steps"), ("single", ""))
    assert arms.recipe_index.tolist() == [0, 1, 0, 1, 2]
    assert arms.mask(methods=["majority"]).tolist() == [True] * 4 + [False]
    assert arms.mask(methods=["majority"], styles=["steps"]).tolist() == [False, True, False, True, False]


def test_masks():
    arms = catalog()
    assert arms.mask().tolist() == [True] * 4
    assert arms.mask(models=["small"]).tolist() == [True, True, False, False]
    assert arms.mask(methods=["single"], models=["large"]).tolist() == [False, False, True, False]
    assert arms.mask(budgets=[[1], (4,)]).tolist() == [True, True, True, False]
    assert arms.mask(models=[]).tolist() == [False] * 4
    for field, value in (("models", "tiny"), ("methods", "beam_search"), ("budgets", (2,)), ("styles", "direct")):
        with pytest.raises(KeyError, match=f"unknown {field[:-1]}"):
            arms.mask(**{field: [value]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ()}, "at least one arm"),
        ({"arms": (*ARMS[:3], ARMS[0])}, "appear twice in the catalog: small/single@1"),
        ({"features": np.zeros((3, 1), np.float32)}, r"shape \(3, 1\), expected .* \(4, 1\)"),
        ({"features": np.zeros((4, 1))}, "finite float32"),
        ({"features": np.full((4, 1), np.nan, np.float32)}, "finite float32"),
        ({"descriptions": ("one",)}, "1 descriptions for 4 arms"),
    ],
)
def test_parts_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        catalog(**changes)


names = st.text(min_size=1, max_size=8)
arm_sets = st.sets(
    st.builds(Arm, names, names, st.lists(st.integers(0, 99), min_size=1, max_size=3).map(tuple), names),
    min_size=1,
    max_size=6,
)


@settings(deadline=None)
@given(arm_sets)
def test_json_keeps_everything(arms):
    before = catalog(tuple(sorted(arms)))
    after = ArmCatalog.from_json(json.loads(json.dumps(before.to_json())), before.features)
    assert (after.arms, after.feature_names, after.descriptions) == (
        before.arms,
        before.feature_names,
        before.descriptions,
    )
    earlier = [arm[:3] for arm in before.to_json()["arms"]]
    if len(set(map(str, earlier))) == len(earlier):
        read = ArmCatalog.from_json(before.to_json() | {"arms": earlier}, before.features)
        assert read.arms == tuple(arm._replace(style="") for arm in before.arms)
    assert [after.id(*arm) for arm in after.arms] == list(range(len(after)))


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=1), st.data())
def test_features_lie_in_the_unit_interval(labels, data):
    numbers = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=len(labels), max_size=len(labels)))
    features, feature_names = arm_features({"model": labels}, {"size": numbers})
    assert features.dtype == np.float32 and features.shape == (len(labels), len(set(labels)) + 1)
    assert feature_names == (*(f"model={label}" for label in dict.fromkeys(labels)), "size")
    assert (features[:, :-1].sum(axis=1) == 1).all()
    assert features.min() >= 0 and features.max() <= 1
    order = np.argsort(numbers)
    assert (np.diff(features[order, -1]) >= 0).all()


def test_one_hot_keeps_first_appearance():
    columns, labels = one_hot(["b", "a", "b"])
    assert labels == ["b", "a"] and columns.tolist() == [[1, 0], [0, 1], [1, 0]]
