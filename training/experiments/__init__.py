"""Experiments: one file describes many runs; those that are missing are run, and tables are made of all.

A file is read by `config` and expanded into steps by `plan`; `run` does them, `results` reads what came of
them and makes `tables`. This package exports what needs no torch: files, steps and results.
"""

from training.experiments.config import (
    EXPERIMENTS,
    Experiment,
    check_inputs,
    parse_overrides,
    read_experiment,
)
from training.experiments.results import ExperimentResults, RunResult, collect_results
from training.experiments.steps import Step, StepStore, in_order
from training.experiments.tables import Cell, Column, Interval, Table

__all__ = [
    "EXPERIMENTS",
    "Cell",
    "Column",
    "Experiment",
    "ExperimentResults",
    "Interval",
    "RunResult",
    "Step",
    "StepStore",
    "Table",
    "check_inputs",
    "collect_results",
    "in_order",
    "parse_overrides",
    "read_experiment",
]
