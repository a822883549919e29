"""Experiments: one file describes many runs; those that are missing are run, and tables are made of all.

A file is read by `config`, expanded into steps by `plan`, run by `run`, and shown by `tables`. This package
exports what needs no torch: files, steps and results.
"""

from training.experiments.config import (
    EXPERIMENTS,
    Experiment,
    check_inputs,
    parse_overrides,
    read_experiment,
)
from training.experiments.steps import Step, StepStore, in_order
from training.experiments.tables import Cell, Column, ExperimentResults, RunResult, Table, collect_results

__all__ = [
    "EXPERIMENTS",
    "Cell",
    "Column",
    "Experiment",
    "ExperimentResults",
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
