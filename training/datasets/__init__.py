"""Labelled hands of FreiHAND, DexYCB, AssemblyHands and the synthetic set: one file each, one record."""
