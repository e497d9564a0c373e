"""Prediction with a model that only its owner knows, on rows that only their owners know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import mpc
from protocols.learning.owners import Partition, all_columns, one_hot

__all__ = ["predict", "probability"]

Output = Literal["score", "probability", "class", "count"]
_INTERCEPT, _CLASS = "intercept", "class"
_BITS = 61  # of a score, with those before its point


def probability(u: Any) -> Any:
    """1/(1 + e^−u) of a secret of any range, without noise: e^−|u| and a reciprocal, some 20 rounds.

    Error: below 2^-18. `mpc.sigmoid` takes one round, and is right to 4e-5 with rounding that depends on masks.
    """
    negative = mpc.is_negative(u)
    away = mpc.where(negative, u, -u)
    falling = mpc.bounded(mpc.rescale(mpc.exp(mpc.bounded(away, -u.type.bound, 0.0)), 26), 0.0, 1.0 + 1e-5)
    above = mpc.bounded(mpc.reciprocal(mpc.bounded(falling + 1, 1.0, 2.0)), 0.5 - 1e-5, 1.0 + 1e-5)
    return mpc.bounded(mpc.where(negative, 1 - above, above), 0.0, 1.0)


@mpc.program
def predict(
    model: mpc.Table,
    data: mpc.PerParty[mpc.Table],
    output: Output = "score",
    partition: Partition = "horizontal",
    limit: float = 2.0**14,
    weight_limit: float = 2.0**12,
    score_limit: float = 2.0**16,
    tell_coordinator: bool = False,
) -> dict[str, Any]:
    """What a linear model says of rows; its owner does not learn the rows, nor they the model.

    model: one owner's table with a column for each feature, named as in the data, and `intercept` if there is one. A
    row is a model: one row for regression or two classes, a row for each class otherwise, with a column `class` that
    names it. data: tables of rows; with partition=horizontal each owner's have all features, and it alone learns what
    is said of its own; with partition=vertical each feature is at one owner, in the same rows, and all of them learn
    it. Columns that the model does not name stay out.
    output: `score`, Xw + b; `probability`, its logistic function, each class against the rest; `class`, the class of
    the largest score, or 0 and 1 by its sign; `count`, e^score, of a Poisson regression (scores up to 12).
    limit, weight_limit: the largest |value| of a feature and of a weight, refused beyond; the intercept's is 2^20.
    score_limit: the stated bound of |Xw|, listed; the smaller, the finer the fixed point. Features and weights stand at
    22 and 23 fraction bits by default: a score's error is below 2^-23·Σ|w| + 2^-24·Σ|x|.
    tell_coordinator: whoever starts the run learns the predictions too, as on one's own machine one wants to.
    Revealed: to the rows' owners the predictions, with 16 fraction bits; to nobody else anything. Public: feature
    names, classes, row counts. Rounds: 2 for scores and 8 bytes a row and model; a probability some 20 more.
    """
    tables = list(data)
    features = _features(model, tables, partition)
    owners = [t.owner for t in tables]
    for name, value in (("limit", limit), ("weight_limit", weight_limit), ("score_limit", score_limit)):
        if not 2.0**-10 <= value <= 2.0**24:
            raise mpc.UsageError(f"{name} must lie between 2^-10 and 2^24, not {value}")
    parts, widths = _rows(tables, features, partition)
    bits = _BITS - math.ceil(math.log2(score_limit))
    x_bits = min(bits // 2, _BITS - math.ceil(math.log2(limit)))
    w_bits = min(bits - x_bits, _BITS - math.ceil(math.log2(weight_limit)))
    shared = [mpc.share(x, range=(-limit, limit), scale=x_bits) for x in parts]
    w = mpc.share(model[features], range=(-weight_limit, weight_limit), scale=w_bits)
    X = mpc.concatenate(shared, axis=int(partition == "vertical"))
    score = mpc.rescale(mpc.assume_range(X @ w.T, -score_limit, score_limit), 24)
    if _INTERCEPT in model.columns:
        score = score + mpc.share(model[_INTERCEPT], range=(-(2.0**20), 2.0**20), scale=24)
    said, facts = _said(score, model, output)
    besides = ["coordinator"] if tell_coordinator else []
    if partition == "vertical":
        return {"predictions": mpc.reveal(said, to=[*owners, *besides]), "features": features, **facts}
    ends = [sum(widths[:i]) for i in range(len(widths) + 1)]
    places = zip(owners, ends[:-1], ends[1:], strict=True)
    own = {f"predictions of {owner}": mpc.reveal(said[a:b], to=[owner, *besides]) for owner, a, b in places}
    return {**own, "features": features, **facts}


def _features(model: Any, tables: Sequence[Any], partition: Partition) -> list[str]:
    """The model's features, which the data must have."""
    features = [c for c in model.columns if c not in (_INTERCEPT, _CLASS)]
    if not features:
        raise mpc.UsageError(f"{model.owner}'s model names no feature: a column for each, its weight under it")
    if partition == "vertical":
        known = {c for _, c in all_columns(tables, "")}
        tables_known = [("the data", known)]
    else:
        tables_known = [(t.owner, set(t.columns)) for t in tables]
    for who, known in tables_known:
        missing = [c for c in features if c not in known]
        if missing:
            raise mpc.InputError(
                f"{model.owner}'s model has the feature {missing[0]!r}, and {who} has no such column; columns and "
                "features have the same names"
            )
    return features


def _rows(tables: Sequence[Any], features: list[str], partition: Partition) -> tuple[list[Any], list[int]]:
    """Each owner's own part of X, in the model's order of features, and how many rows it has."""
    if partition == "horizontal":
        return [t[features] for t in tables], [len(t) for t in tables]
    at = {c: t for t in reversed(tables) for c in t.columns}
    return [at[c][[c]] for c in features], [len(tables[0])]


def _said(score: Any, model: Any, output: Output) -> tuple[Any, dict[str, Any]]:
    """The output that was asked for, and what is public of it."""
    several = score.shape[1] > 1
    classes = model.classes(_CLASS) if several and _CLASS in model.columns else None
    if output == "class":
        if not several:
            return score[:, 0] >= 0, {"classes": [0, 1]}
        return mpc.argmax(_in_order(score, model, classes), axis=1), {"classes": classes or list(range(score.shape[1]))}
    if output == "probability":
        score = probability(score)
    if output == "count":
        score = mpc.exp(mpc.clip(score, -30.0, 12.0))
    if not several:
        return score[:, 0], {}
    return _in_order(score, model, classes), {"classes": classes} if classes else {}


def _in_order(score: Any, model: Any, classes: list[str] | None) -> Any:
    """A column for each class, in the classes' order: which row of the model is which class is its owner's own."""
    if classes is None:
        return score
    if len(classes) != score.shape[1]:
        raise mpc.InputError(f"{model.owner}'s model has {score.shape[1]} rows and {len(classes)} different classes")
    return score @ mpc.share(one_hot(model, _CLASS, classes), range=(0, 1), scale=0)
