"""Programs by the names that people type."""

from __future__ import annotations

from mpc import ProgramFunction
from protocols import statistics
from protocols.learning import metrics
from protocols.learning.kmeans import k_means
from protocols.learning.linear_regression import linear_regression, ridge_regression
from protocols.learning.logistic_regression import logistic_regression
from protocols.learning.poisson_regression import poisson_regression
from protocols.learning.prediction import predict
from protocols.learning.principal_components import principal_components
from protocols.sums import mean, secure_sum

catalog: dict[str, ProgramFunction] = {
    "secure-sum": secure_sum,
    "mean": mean,
    "variance": statistics.variance,
    "standard-deviation": statistics.standard_deviation,
    "covariance": statistics.covariance,
    "correlation": statistics.correlation,
    "histogram": statistics.histogram,
    "quantile": statistics.quantile,
    "median": statistics.median,
    "group-by": statistics.group_by,
    "chi-square": statistics.chi_square,
    "t-test": statistics.t_test,
    "linear-regression": linear_regression,
    "ridge-regression": ridge_regression,
    "logistic-regression": logistic_regression,
    "poisson-regression": poisson_regression,
    "k-means": k_means,
    "pca": principal_components,
    "predict": predict,
    "accuracy": metrics.accuracy,
    "log-loss": metrics.log_loss,
    "auc": metrics.auc,
}
