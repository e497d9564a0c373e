"""Statistics over rows that lie at several owners; only the statistic is revealed."""

from protocols.statistics.groups import group_by
from protocols.statistics.moments import correlation, covariance, standard_deviation, variance
from protocols.statistics.order import histogram, median, quantile
from protocols.statistics.significance import chi_square, t_test

__all__ = [
    "chi_square", "correlation", "covariance", "group_by", "histogram", "median", "quantile", "standard_deviation",
    "t_test", "variance",
]  # fmt: skip
