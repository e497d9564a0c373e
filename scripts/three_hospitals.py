"""The demo: three hospitals, three files, three processes and a dealer, one model; beside it the model of pooled data.

The data are the 569 patients of the Wisconsin breast cancer set that ships with scikit-learn. A quarter is held out;
the rest is split over alice, bob and carol. The pooled model is what privity saves the hospitals from: it is computed
here only because these data are public.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import parties
from mpc.errors import MpcError
from parties.progress import progress
from parties.report import Block, Grid, Line, emit, run_report
from protocols import catalog

LABEL = "diagnosis"
HOSPITALS = ("alice", "bob", "carol")
PROGRAM = "logistic-regression"


class Patients:
    """The data set, a quarter held out."""

    def __init__(self) -> None:
        bunch = load_breast_cancer()
        self.features = [str(name) for name in bunch.feature_names]
        diagnosis = np.array([str(bunch.target_names[t]) for t in bunch.target])
        self.train_X, self.test_X, self.train_y, self.test_y = train_test_split(
            bunch.data, diagnosis, test_size=0.25, random_state=0, stratify=diagnosis
        )

    def write(self, folder: Path) -> dict[str, Path]:
        """One CSV file for each hospital."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {}
        rows = np.array_split(np.arange(len(self.train_y)), len(HOSPITALS))
        for hospital, mine in zip(HOSPITALS, rows, strict=True):
            files[hospital] = folder / f"{hospital}.csv"
            with files[hospital].open("w", newline="", encoding="utf-8") as file:
                out = csv.writer(file)
                out.writerow([*self.features, LABEL])
                out.writerows([*map(repr, self.train_X[i].tolist()), self.train_y[i]] for i in mine)
        return files

    def accuracy(self, coef: np.ndarray[Any, Any], intercept: float, classes: list[str]) -> float:
        """The part of the held-out patients that a model diagnoses rightly."""
        second = self.test_X @ coef + intercept > 0
        return float(np.mean(np.where(second, classes[1], classes[0]) == self.test_y))

    def pooled(self) -> tuple[np.ndarray[Any, Any], float, list[str]]:
        """scikit-learn's model of all rows in one place, in the columns' own units."""
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(self.train_X, self.train_y)
        scaler, regression = model.steps[0][1], model.steps[1][1]
        coef = regression.coef_[0] / scaler.scale_
        return coef, float(regression.intercept_[0] - coef @ scaler.mean_), [str(c) for c in regression.classes_]


def compared(patients: Patients, results: dict[str, Any]) -> list[Block]:
    """The trained model beside the pooled one; coefficients per standard deviation, so that they can be compared."""
    coef = np.asarray(results["coef"], dtype=float).reshape(-1)
    intercept = float(np.asarray(results["intercept"], dtype=float).reshape(-1)[0])
    classes = [str(c) for c in results["classes"]]
    pooled_coef, pooled_intercept, pooled_classes = patients.pooled()
    spread = patients.train_X.std(axis=0)
    ours, theirs = coef * spread, pooled_coef * spread
    largest = np.argsort(-np.abs(theirs))[:10]
    rows = [(patients.features[j], f"{ours[j]:+.3f}", f"{theirs[j]:+.3f}") for j in largest]
    apart = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    accuracies = (
        f"{patients.accuracy(coef, intercept, classes):.4f}",
        f"{patients.accuracy(pooled_coef, pooled_intercept, pooled_classes):.4f}",
    )
    header = ("", ">three hospitals, privately", ">pooled, scikit-learn")
    return [
        Grid(
            "the model, beside one that needed all rows in one place",
            header,
            [("accuracy on the held-out quarter", *accuracies), *rows],
        ),
        Line(
            f"coefficients are per standard deviation, the 10 largest of {len(ours)}; all of them differ by "
            f"{apart:.1%} in the 2-norm, as gradient steps have not gone all the way to the optimum",
            "quiet",
        ),
    ]


def main() -> int:
    """The demo."""
    parser = argparse.ArgumentParser(description="Three hospitals train one model together.")
    parser.add_argument("--folder", type=Path, default=Path("demo-data"), help="where the hospitals' files are written")
    folder = parser.parse_args().folder
    patients = Patients()
    files = patients.write(folder)
    emit([Line("Three hospitals, each with a file that stays in its own process:", "title")])
    emit([Line(f"  {name}: {path}, {sum(1 for _ in path.open()) - 1} patients") for name, path in files.items()])
    program = catalog[PROGRAM]
    input_name = next(p.name for p in program.parameters.values() if p.kind != "setting")
    inputs = {input_name: {name: str(path) for name, path in files.items()}}
    with parties.local(list(HOSPITALS)) as session, progress("training", sys.stderr) as on_progress:
        run = session.run(program, label=LABEL, on_progress=on_progress, **inputs)
    emit(compared(patients, run.results))
    emit([block for block in run_report(PROGRAM, run) if getattr(block, "title", "") != "results"])
    words = [f"{input_name}={name}:{path}" for name, path in files.items()]
    command = shlex.join(["privity", "run", PROGRAM, *(w for word in words for w in ("--input", word))])
    shown = f"  {Path(sys.prefix).name}/bin/{command} --set label={LABEL}"
    emit([Line(""), Line("The same from the command line:"), Line(shown)])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MpcError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
