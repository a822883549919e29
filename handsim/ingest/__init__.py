"""Ingest: from folders of pictures, videos and annotations to hands in a pool."""

from handsim.ingest.options import IngestOptions
from handsim.ingest.report import IngestReport
from handsim.ingest.run import ingest

__all__ = ["IngestOptions", "IngestReport", "ingest"]
