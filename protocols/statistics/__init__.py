"""Statistics over rows that lie at several owners; only the statistic is revealed."""

from protocols.statistics.groups import chi_square, group_by, t_test
from protocols.statistics.moments import correlation, covariance, standard_deviation, variance
from protocols.statistics.order import histogram, median, quantile

__all__ = [
    "chi_square", "correlation", "covariance", "group_by", "histogram", "median", "quantile", "standard_deviation",
    "t_test", "variance",
]  # fmt: skip
