"""The doctor of labelled datasets: what is there, and whether it can be right."""

from training.datasets.check.reading import CheckOptions
from training.datasets.check.report import CheckReport
from training.datasets.check.run import check_dataset

__all__ = ["CheckOptions", "CheckReport", "check_dataset"]
