"""Ingest: from folders of pictures, videos and annotations to hands in a pool."""

from handsim.ingest.origins import IngestOptions, NameRule
from handsim.ingest.run import IngestReport, ingest

__all__ = ["IngestOptions", "IngestReport", "NameRule", "ingest"]
