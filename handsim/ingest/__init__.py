"""Ingest: from folders of pictures, videos and annotations to hands in a pool."""

from handsim.ingest.globs import Glob
from handsim.ingest.origins import IngestOptions, NameRule
from handsim.ingest.report import IngestReport
from handsim.ingest.run import ingest
from handsim.ingest.shard import Shard
from handsim.ingest.workers import PATIENCE_S

__all__ = ["PATIENCE_S", "Glob", "IngestOptions", "IngestReport", "NameRule", "Shard", "ingest"]
