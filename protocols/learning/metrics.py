"""How good a model is, measured on rows that nobody may see: accuracy, log loss, area under the ROC curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import mpc
from protocols.learning.owners import classes_of, number, shared_labels
from protocols.statistics.columns import ordered, rows_of

__all__ = ["accuracy", "accuracy_of", "area_under_curve", "auc", "log_loss", "log_loss_of"]

_SMALLEST = 2.0**-16  # of a probability, in a log loss


# --- of secrets ------------------------------------------------------------------------------------------------------


def accuracy_of(y: Any, predicted: Any) -> Any:
    """The share of elements in which two secret vectors of 0 and 1 agree: secret, one number, exact.

    y, predicted: secret (n,). One product: 1 round, in the masked suite 16 bytes an element and peer. Security: that of
    a product; nothing is said of a single row.
    """
    agree = 1 - y - predicted + 2 * (y * predicted)
    return mpc.bounded(agree, 0.0, 1.0).sum() / y.size


def log_loss_of(y: Any, p: Any) -> Any:
    """−mean log(p if y else 1 − p), as `sklearn.metrics.log_loss` of two classes: secret.

    y: secret (n,) of 0 and 1; p: secret (n,) probabilities, taken as 2^-16 where they are smaller and as 1 − 2^-16
    where they are larger. One choice and one logarithm, some 13 rounds. Error: below 2^-16. Security: comparisons and
    products; nothing is said of a single row.
    """
    kept = mpc.clip(p, _SMALLEST, 1.0 - _SMALLEST)
    return mpc.log(mpc.where(1 - y, 1 - kept, kept)).sum() / -y.size


def area_under_curve(y: Any, score: Any) -> Any:
    """The area under the ROC curve, as `sklearn.metrics.roc_auc_score`, ties counted half: secret.

    y: secret (n,) of 0 and 1, both of which occur; score: secret (n,). Two sorts side by side by (score, label): once
    the positives of a tie come last and once first; the mean of the two areas counts them half. Positives at places i
    of n, ascending, have Σ i − n₊(n₊ − 1)/2 pairs with a negative below; n₊·n₋ divides them.
    Cost: a sort of n numbers of one bit more than the score's, a reciprocal. Error: below 2^-18.
    Source: Mann and Whitney (1947); Bamber (1975) for its being the area.
    """
    n = y.size
    if n < 2:
        raise mpc.InputError("a ROC curve needs two rows or more")
    unit = 2.0 ** -(score.type.scale + 1)
    order = mpc.stack([score + y * unit, score - y * unit])
    labels = mpc.bounded(mpc.sort_by(order, mpc.stack([y, y]))[1], 0.0, 1.0)
    positives = mpc.bounded(y.sum(), 1.0, n - 1.0)
    places = (labels * mpc.constant(list(range(n)), 0)).sum()
    pairs = mpc.bounded(places - positives * (positives - 1), 0.0, n * n / 2)  # both sorts: twice the pairs
    power = math.ceil(math.log2(n * n / 4 + 1))
    all_pairs = mpc.bounded(positives * (n - positives), n - 1.0, n * n / 4)
    inverse = mpc.reciprocal(_over(all_pairs, power))
    room = 60 - 27 - math.ceil(math.log2(2.0**power / max(n - 1, 1)))
    share = mpc.rescale(_over(pairs, power + 1), 26) if power > 25 else _over(pairs, power + 1)
    return mpc.bounded(share * mpc.rescale(inverse, max(room, 20)), 0.0, 1.0)


def _over(x: Any, power: int) -> Any:
    """A whole number over 2^power, exactly: its fraction bits."""
    return mpc.rescale(x / 2.0**power, power) if power else x


# --- of tables -------------------------------------------------------------------------------------------------------


@mpc.program
def accuracy(data: mpc.PerParty[mpc.Table], label: str, score: str, threshold: float = 0.5) -> dict[str, Any]:
    """The share of all rows whose score reaches the threshold exactly where their label is the second class.

    label and score: columns. Either every owner has both, for its own rows; or one has the labels and another the
    scores of the same rows in the same order. The classes are public, labels and scores are not.
    Revealed: the accuracy. 4 rounds, 15 to 23 bytes a row.
    """
    y, reached, facts = _labelled(data, label, score, lambda own: [_reached(x, threshold) for x in own])
    hit = accuracy_of(y, mpc.concatenate(reached))
    return {"accuracy": mpc.reveal(hit * facts["rows"], bits=0, name="rows predicted right") / facts["rows"], **facts}


@mpc.program
def log_loss(data: mpc.PerParty[mpc.Table], label: str, score: str) -> dict[str, Any]:
    """The mean log loss of probabilities for the second class; columns and owners as in `accuracy`.

    A probability outside 0 to 1 is refused at its owner; below 2^-16, or that near 1, it counts as 2^-16.
    Revealed: the loss, error below 2^-15. 14 rounds, 139 bytes a row.
    """
    y, p, facts = _labelled(data, label, score, lambda own: [mpc.share(x, range=(0, 1), scale=30) for x in own])
    return {"log_loss": mpc.reveal(log_loss_of(y, mpc.concatenate(p)), bits=24), **facts}


@mpc.program
def auc(data: mpc.PerParty[mpc.Table], label: str, score: str) -> dict[str, Any]:
    """The area under the ROC curve of scores; columns and owners as in `accuracy`. Rows are sorted, secret.

    Scores may have any unit; those that differ by less than 2^-44 of the largest may count as ties, which count half.
    Revealed: the area, error below 2^-15. 3 rounds for each of ⌈log2 n⌉(⌈log2 n⌉ + 1)/2 layers, and some 20.
    """
    y, s, facts = _labelled(data, label, score, lambda own: ordered(own, f"magnitude of {score}")[0])
    return {"auc": mpc.reveal(area_under_curve(y, mpc.concatenate(s)), bits=20), **facts}


def _reached(x: Any, threshold: float) -> Any:
    """[x ≥ threshold] of an owner's numbers, which it compares itself."""
    return mpc.share(1 - mpc.clip((threshold - x) * 2.0**1000, 0, 1), range=(0, 1), scale=0)


def _labelled(
    data: Sequence[Any], label: str, score: str, shared: Callable[[list[Any]], Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """Secret labels of 0 and 1, what `shared` makes of each owner's scores, and what is public of them."""
    tables = list(data)
    classes = classes_of(tables, label)
    if len(classes) != 2:
        raise mpc.InputError(f"label column {label!r} has {len(classes)} classes; this metric is for two")
    labelled, scored = ([t for t in tables if c in t.columns] for c in (label, score))
    if not scored:
        raise mpc.UsageError(f"no party has the score column {score!r}: --set score=COLUMN")
    together = [t.owner for t in labelled] == [t.owner for t in scored]
    if not together and (len(labelled) != 1 or len(scored) != 1):
        raise mpc.UsageError(
            f"either every party has both {label!r} and {score!r}, or one has {label!r} and one {score!r}"
        )
    if len(labelled[0]) != len(scored[0]) and not together:
        raise mpc.InputError(
            f"{labelled[0].owner} has {len(labelled[0])} rows and {scored[0].owner} {len(scored[0])}; labels and "
            "scores belong to the same rows in the same order"
        )
    y = mpc.concatenate([shared_labels(t, label, classes) for t in labelled])
    return y, shared([t[score] for t in scored]), {"classes": [number(c) for c in classes], "rows": rows_of(labelled)}
