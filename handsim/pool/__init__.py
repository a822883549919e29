"""The pool: a directory of hands, their keypoints in Parquet and their crops in tar shards."""

from handsim.pool.crops import CropFiles
from handsim.pool.reader import Categorical, Pool
from handsim.pool.writer import FileRecord, ItemRecord, PoolWriter, Skip, read_items

__all__ = ["Categorical", "CropFiles", "FileRecord", "ItemRecord", "Pool", "PoolWriter", "Skip", "read_items"]
