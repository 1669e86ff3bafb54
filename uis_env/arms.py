"""Arms: the valid (model, method, budget, style), their integer ids, features and descriptions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Arm(NamedTuple):
    """One way to answer a query.

    Attributes:
        model: which model answers.
        method: the test-time-scaling method, such as `majority`.
        budget: the method's own setting, e.g. `(8,)` samples or `(QP, CP, BS)`.
        style: how the model is prompted, such as `direct`; empty where there is one way only.
    """

    model: str
    method: str
    budget: tuple[int, ...]
    style: str = ""

    @property
    def recipe(self) -> str:
        """Method and style as labels show them: `majority-direct`, or `majority` without a style."""
        return f"{self.method}-{self.style}" if self.style else self.method

    @property
    def name(self) -> str:
        """A readable label such as `qwen/best_of_n-direct@8`; a label only, never parsed."""
        return f"{self.model}/{self.recipe}@{'x'.join(map(str, self.budget))}"


@dataclass(frozen=True)
class ArmCatalog:
    """All arms of a world; an arm's id, the `action`, is its place here.

    Attributes:
        arms: K distinct arms.
        features: (K, F) float32 numeric description of each arm, finite.
        feature_names: F names.
        descriptions: K one-line texts, for text encoders.

    Raises:
        ValueError: if the parts do not fit together, an arm appears twice, or a feature is not finite.
    """

    arms: tuple[Arm, ...]
    features: NDArray[np.float32]
    feature_names: tuple[str, ...]
    descriptions: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.arms)
        if count == 0:
            raise ValueError("an ArmCatalog needs at least one arm")
        repeated = sorted({arm.name for arm in self.arms if self.arms.count(arm) > 1})
        if repeated:
            raise ValueError(f"arms appear twice in the catalog: {', '.join(repeated)}")
        if self.features.shape != (count, len(self.feature_names)):
            raise ValueError(
                f"features have shape {self.features.shape}, expected (arms, feature names) = "
                f"{(count, len(self.feature_names))}"
            )
        if self.features.dtype != np.float32 or not np.isfinite(self.features).all():
            raise ValueError("features must be finite float32")
        if len(self.descriptions) != count:
            raise ValueError(f"{len(self.descriptions)} descriptions for {count} arms")

    def __len__(self) -> int:
        return len(self.arms)

    @property
    def models(self) -> tuple[str, ...]:
        """The distinct models, in order of first appearance."""
        return tuple(dict.fromkeys(arm.model for arm in self.arms))

    @property
    def methods(self) -> tuple[str, ...]:
        """The distinct methods, in order of first appearance."""
        return tuple(dict.fromkeys(arm.method for arm in self.arms))

    @property
    def styles(self) -> tuple[str, ...]:
        """The distinct styles, in order of first appearance."""
        return tuple(dict.fromkeys(arm.style for arm in self.arms))

    @property
    def recipes(self) -> tuple[tuple[str, str], ...]:
        """The distinct (method, style), in order of first appearance."""
        return tuple(dict.fromkeys((arm.method, arm.style) for arm in self.arms))

    @property
    def budgets(self) -> tuple[tuple[int, ...], ...]:
        """The distinct budgets, sorted."""
        return tuple(sorted({arm.budget for arm in self.arms}, key=lambda budget: (len(budget), budget)))

    @property
    def model_index(self) -> NDArray[np.int32]:
        """(K,) int32: each arm's place in `models`."""
        place = {model: i for i, model in enumerate(self.models)}
        return np.array([place[arm.model] for arm in self.arms], np.int32)

    @property
    def recipe_index(self) -> NDArray[np.int32]:
        """(K,) int32: the place of each arm's method and style in `recipes`."""
        place = {recipe: i for i, recipe in enumerate(self.recipes)}
        return np.array([place[arm.method, arm.style] for arm in self.arms], np.int32)

    def id(self, model: str, method: str, budget: int | Sequence[int], style: str | None = None) -> int:
        """The action of an arm; None takes the only style in which there is such an arm.

        Raises:
            KeyError: naming the arm and what the catalog has, if there is no such arm or several styles have one.
        """
        wanted = Arm(model, method, (budget,) if isinstance(budget, int) else tuple(budget))
        found = [i for i, arm in enumerate(self.arms) if arm[:3] == wanted[:3] and style in (None, arm.style)]
        if len(found) == 1:
            return found[0]
        if found:
            styles = ", ".join(self.arms[i].style for i in found)
            raise KeyError(f"arm {wanted.name!r} is there in several styles: {styles}; name one")
        parts = {
            "models": self.models,
            "methods": self.methods,
            "styles": tuple(filter(None, self.styles)),
            "budgets": tuple("x".join(map(str, b)) for b in self.budgets),
        }
        has = "; ".join(f"{part}: {', '.join(values)}" for part, values in parts.items() if values)
        raise KeyError(f"unknown arm {wanted._replace(style=style or '').name!r}; {has}")

    def mask(
        self,
        models: Iterable[str] | None = None,
        methods: Iterable[str] | None = None,
        budgets: Iterable[Sequence[int]] | None = None,
        styles: Iterable[str] | None = None,
    ) -> NDArray[np.bool_]:
        """(K,) bool: the arms whose model, method, budget and style are among those given (None admits all).

        Raises:
            KeyError: if a name or budget is in no arm.
        """
        keep = np.ones(len(self), bool)
        wanted: tuple[tuple[str, Iterable[Any] | None, Sequence[Any]], ...] = (
            ("model", models, self.models),
            ("method", methods, self.methods),
            ("style", styles, self.styles),
            ("budget", None if budgets is None else [tuple(b) for b in budgets], self.budgets),
        )
        for field, chosen, known in wanted:
            if chosen is None:
                continue
            chosen = set(chosen)
            unknown = chosen - set(known)
            if unknown:
                raise KeyError(f"unknown {field} {sorted(unknown)}; the catalog has {list(known)}")
            keep &= np.array([getattr(arm, field) in chosen for arm in self.arms])
        return keep

    def to_json(self) -> dict[str, Any]:
        """Plain lists and strings, without the feature matrix (it is stored as an array)."""
        return {
            "arms": [[arm.model, arm.method, list(arm.budget), arm.style] for arm in self.arms],
            "feature_names": list(self.feature_names),
            "descriptions": list(self.descriptions),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], features: NDArray[np.float32]) -> ArmCatalog:
        """The inverse of `to_json`; arms of earlier files have no style."""
        return cls(
            arms=tuple(Arm(model, method, tuple(budget), *style) for model, method, budget, *style in data["arms"]),
            features=features,
            feature_names=tuple(data["feature_names"]),
            descriptions=tuple(data["descriptions"]),
        )


def one_hot(labels: Sequence[Any]) -> tuple[NDArray[np.float32], list[str]]:
    """(K, distinct) float32 indicator columns in order of first appearance, and the labels as column names."""
    distinct = list(dict.fromkeys(labels))
    columns = np.array([[label == value for value in distinct] for label in labels], np.float32)
    return columns, [str(value) for value in distinct]


def arm_features(
    labels: Mapping[str, Sequence[Any]], numbers: Mapping[str, Sequence[float] | NDArray[Any]]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """(K, F) float32 features of K arms in [0, 1], and their names.

    Args:
        labels: name -> K labels, shown as indicator columns `name=label`.
        numbers: name -> K finite numbers, scaled to [0, 1] over the arms (0 where all are equal). Large raw numbers
            would make an optimist's bonus largest for the most expensive arms.
    """
    columns, names = [], []
    for name, values in labels.items():
        block, distinct = one_hot(values)
        columns.append(block)
        names += [f"{name}={value}" for value in distinct]
    for name, column in numbers.items():
        raw = np.asarray(column, np.float64)
        span = raw.max() - raw.min()
        columns.append(((raw - raw.min()) / (span or 1.0))[:, None].astype(np.float32))
        names.append(name)
    return np.hstack(columns), tuple(names)
