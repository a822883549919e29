"""Labelled hands of FreiHAND, DexYCB, AssemblyHands, our synthetic set and others: one file each, one record.

`training.datasets.open_dataset` opens any of them by name. This package exports what needs no torch, which
synthetic hands do.
"""

from training.datasets.record import HandDataset, HandLabel, LabelledHand, StoredDataset

__all__ = ["HandDataset", "HandLabel", "LabelledHand", "StoredDataset"]
