"""LightGBM's quantised trees against the paper's formulas, written down independently with NumPy (arXiv 2207.09682)."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from fqt_core.config.tree_methods import Gbdt
from fqt_core.trees.boosting import Grower, Growth
from fqt_core.trees.problem import Problem

from .tables import numbers

RATE = 0.3


def _draw(rows: int = 400, columns: int = 3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(5)
    features = draw.integers(0, 12, (rows, columns)).astype(np.float64)
    labels = (features[:, 0] + 0.6 * features[:, 1] + draw.normal(0, 3, rows) > 9).astype(np.float64)
    return features, labels


def _codes(gradients: np.ndarray, hessians: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Codes to the nearest, away from zero in the middle, with their scales: g ≈ δg·q, h ≈ δh·p."""
    step, curve = np.abs(gradients).max() / (bins // 2), hessians.max() / bins
    codes = np.trunc(gradients / step + 0.5 * np.sign(gradients))
    return codes, np.trunc(hessians / curve + 0.5), step, curve


def _stump(features: np.ndarray, gradients: np.ndarray, hessians: np.ndarray) -> tuple[int, float, np.ndarray]:
    """The split of most gain: column, threshold, and which rows go left."""
    best = (-np.inf, 0, 0.0)
    for column in range(features.shape[1]):
        for threshold in np.unique(features[:, column])[:-1]:
            left = features[:, column] <= threshold
            gain = sum(gradients[side].sum() ** 2 / hessians[side].sum() for side in (left, ~left))
            best = max(best, (gain, -column, threshold))
    _, column, threshold = best
    return -column, threshold, features[:, -column] <= threshold


def _grow(problem: Problem, seed: int = 0, **options: object) -> tuple[int, float, list[float]]:
    """Column, threshold, leaf values (left first) of the second tree: gradients of the first have but two values."""
    method = Gbdt.model_validate(
        {"iterations": 2, "num_leaves": 2, "min_data_in_leaf": 1, "learning_rate": RATE, **options}
    )
    growth = Grower(problem, method, seed=seed, threads=1).stretch(
        Growth(quantized=method.use_quantized_grad), lambda _: None, lambda: False
    )
    assert growth is not None
    assert growth.model is not None
    tree = lightgbm.Booster(model_str=growth.model).dump_model()["tree_info"][1]["tree_structure"]
    return tree["split_feature"], tree["threshold"], [tree[f"{side}_child"]["leaf_value"] for side in ("left", "right")]


def _after_one(problem: Problem, **options: object) -> np.ndarray:
    """Raw scores (log odds) after the first tree."""
    method = Gbdt.model_validate(
        {"iterations": 1, "num_leaves": 2, "min_data_in_leaf": 1, "learning_rate": RATE, **options}
    )
    growth = Grower(problem, method, seed=0, threads=1).stretch(
        Growth(quantized=method.use_quantized_grad), lambda _: None, lambda: False
    )
    assert growth is not None
    return np.asarray(lightgbm.Booster(model_str=growth.model).predict(problem.features, raw_score=True))


@pytest.mark.parametrize("renew", [True, False])
@pytest.mark.parametrize("bins", [4, 16])
def test_split_and_leaves_are_those_of_the_codes(bins: int, renew: bool) -> None:
    features, labels = _draw()
    problem = numbers(features, labels)
    options = {"num_grad_quant_bins": bins, "stochastic_rounding": False, "quant_train_renew_leaf": renew}
    chance = 1 / (1 + np.exp(-_after_one(problem, **options)))
    # As LightGBM keeps them: 32 bits.
    gradients = (chance - labels).astype(np.float32).astype(np.float64)
    hessians = (chance * (1 - chance)).astype(np.float32).astype(np.float64)
    codes, curves, step, curve = _codes(gradients, hessians, bins)
    column, threshold, left = _stump(features, codes * step, curves * curve)
    found = _grow(problem, **options)
    assert found[0] == column
    assert threshold <= found[1] < threshold + 1
    used = (gradients, hessians) if renew else (codes * step, curves * curve)
    leaves = [-RATE * used[0][side].sum() / used[1][side].sum() for side in (left, ~left)]
    assert found[2] == pytest.approx(leaves, rel=1e-5)


def test_stochastic_rounding_is_unbiased_and_nearest_is_not() -> None:
    """Sums of codes without refit, over many seeds, are those in full precision; the split is too clear to move."""
    features, labels = _draw()
    features = features[:, :1] >= 6
    problem = numbers(features.astype(np.float64), labels)
    exact = np.array(_grow(problem, use_quantized_grad=False)[2])
    options = {"num_grad_quant_bins": 4, "quant_train_renew_leaf": False}
    drawn = np.array([_grow(problem, seed=seed, **options)[2] for seed in range(60)])
    error = drawn.std(0, ddof=1) / np.sqrt(len(drawn))
    assert (drawn.std(0) > 0).all()
    assert np.abs(drawn.mean(0) - exact) == pytest.approx(0, abs=float(4 * error.max()))
    nearest = np.array(_grow(problem, stochastic_rounding=False, **options)[2])
    assert np.abs(nearest - exact).max() > 4 * error.max()


def test_parts_of_rows_or_columns_are_refused_with_quantised_gradients() -> None:
    for name in ("bagging_fraction", "feature_fraction"):
        with pytest.raises(ValueError, match=f"{name} below 1 .* use_quantized_grad false"):
            Gbdt.model_validate({name: 0.5})
        assert Gbdt.model_validate({name: 0.5, "use_quantized_grad": False}).arithmetic == "float"
