"""The pool: a directory of hands, their keypoints in Parquet and their crops in tar shards."""

from handsim.pool.categorical import Categorical
from handsim.pool.reader import Pool
from handsim.pool.records import ItemRecord, Skip, read_items
from handsim.pool.writer import PoolWriter

__all__ = ["Categorical", "ItemRecord", "Pool", "PoolWriter", "Skip", "read_items"]
