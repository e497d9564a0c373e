"""Models that are trained on what several owners hold."""

from protocols.learning.logistic_regression import logistic_regression

__all__ = ["logistic_regression"]
