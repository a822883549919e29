"""Hands of a pool that look like one moment of one recording, and are not."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from handsim.ingest.origins import readable
from handsim.ingest.report import Findings
from handsim.pool import layout
from handsim.pool.reader import Categorical

_REMEDY = "name them apart: --video-from"


def note_clashes(pool: Path, findings: Findings) -> None:
    """Note where the same video, side and frame come from two files, and a pool that is all one video.

    Mining takes the hands of a video for one recording, and TempCLR its frames for moments of it. Pictures
    without a number in their name are all frame 0; these are no moments, and not counted.
    """
    with layout.reading(pool) as parts:
        names = ["hand_id", "video", "side", "frame", "file"]
        as_codes = ("video", "side", "file")
        hands = [layout.read_columns(part, layout.HANDS_FILE, names, as_codes) for part in parts]
        items = [layout.read_columns(part, layout.ITEMS_FILE, ["hand_ids", "file"]) for part in parts]
    if not hands:
        return
    table = pa.concat_tables(hands)
    is_there = ~np.isin(table["hand_id"].to_numpy(), layout.read_removed(pool))
    if is_there.any():
        _note_clashes(table.filter(pa.array(is_there)), pa.concat_tables(items), findings)


def _note_clashes(hands: pa.Table, items: pa.Table, findings: Findings) -> None:
    ids, frames = hands["hand_id"].to_numpy(), hands["frame"].to_numpy()
    videos, sides, files = (Categorical.of_column(hands[name]) for name in ("video", "side", "file"))
    if len(ids) > 1 and len(np.unique(videos.codes)) == 1:
        findings.note("all hands are of one video", videos[0] or "", "mining needs two: --video-from")
    paths = _paths(items.combine_chunks(), ids)
    # Files of one name for people are told apart by their paths, where these were recorded.
    places = np.where(paths.codes < 0, files.codes, len(files.names) + paths.codes)
    order = np.lexsort((places, frames, sides.codes, videos.codes))
    before, after = order[:-1], order[1:]
    is_same_moment = frames[before] != 0
    for values in (videos.codes, sides.codes, frames):
        is_same_moment &= values[before] == values[after]
    clashes = np.flatnonzero(is_same_moment & (places[before] != places[after]))
    if len(clashes):
        one, other = int(before[clashes[0]]), int(after[clashes[0]])
        named = [files[row] for row in (one, other)]
        if named[0] == named[1]:
            named = [paths[row] or files[row] for row in (one, other)]
        first = f"video {videos[one]}, frame {frames[one]}: {named[0]} and {named[1]}"
        findings.note("same video, side and frame twice", first, _REMEDY, len(clashes))


def _paths(items: pa.Table, hand_ids: NDArray[np.uint64]) -> Categorical:
    """The file of each hand [N], where it was recorded."""
    files = pc.struct_field(items["file"], "path").to_pylist()
    recorded = Categorical.of(None if path is None else readable(os.fsdecode(path)) for path in files)
    lists = items["hand_ids"].combine_chunks()
    ids = lists.flatten().to_numpy()
    owners = pc.list_parent_indices(lists).to_numpy()
    order = np.argsort(ids, kind="stable")
    ids, codes = ids[order], recorded.codes[owners[order]]
    places = np.searchsorted(ids, hand_ids, side="right") - 1  # of equal ids the one that was recorded last
    is_recorded = places >= 0
    is_recorded[is_recorded] = ids[places[is_recorded]] == hand_ids[is_recorded]
    of_hands = np.full(len(hand_ids), -1, dtype=np.int32)
    of_hands[is_recorded] = codes[places[is_recorded]]
    return Categorical(of_hands, recorded.names)
