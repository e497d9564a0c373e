"""Programs by the names that people type."""

from __future__ import annotations

from mpc import ProgramFunction
from protocols.learning.logistic_regression import logistic_regression
from protocols.sums import mean, secure_sum

catalog: dict[str, ProgramFunction] = {
    "secure-sum": secure_sum,
    "mean": mean,
    "logistic-regression": logistic_regression,
}
