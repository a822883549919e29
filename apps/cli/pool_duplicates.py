"""``handsim pool duplicates``: what a pool holds twice, or shares with another pool or a labelled dataset."""

import argparse
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from apps.cli.console import (
    add_action,
    find_home,
    format_command,
    format_table,
    printable,
    progress_bar,
    shorten,
)
from handsim.english import pluralize
from handsim.errors import HandsimError, NotThereError
from handsim.geometry import apply_affine, box_around, crop_affine, cut_crop, square_around
from handsim.hand import format_hand_id
from handsim.home import Home
from handsim.images import encode_jpeg
from handsim.pool import Pool
from handsim.pool.crop_hashes import CropHashes, Progress, hash_crops
from handsim.pool.duplicates import (
    DUPLICATES_FILE,
    DuplicateGroups,
    DuplicateSearch,
    find_duplicates,
    find_shared,
)
from handsim.pool.layout import POOL_FILE
from handsim.pool.removal import remove
from handsim.skeleton import JOINT_COUNT

if TYPE_CHECKING:
    from training.datasets.record import StoredDataset

_ROWS: Final = 10
"""Rows of a table, so that it is read in ten seconds; all are in the JSON."""
_NAME_WIDTH: Final = 40
_HANDS_AT_ONCE: Final = 512


def add_arguments(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command line."""
    line = "hands, recordings and crops that are there twice, or in another pool or dataset, too"
    parser = add_action(actions, "duplicates", line)
    line = "compare with another home or pool, or with a labelled dataset's folder: what both hold"
    parser.add_argument("--against", type=Path, metavar="HOME|FOLDER", help=line)
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    line = "remove what is there twice, but for the first of each (with --against: what the other has, too)"
    parser.add_argument("--remove-copies", action="store_true", help=line)
    line = "with --remove-copies: near duplicates, too (they are looked for and shown anyway)"
    parser.add_argument("--near", action="store_true", help=line)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    pool = Pool.open(find_home(options).pool)
    if options.against is not None:
        copies, report, text = _compare(pool, options.against, options.near)
    else:
        copies, report, text = _search(pool, options.near)
    if options.remove_copies:
        report["removed"] = remove(pool.path, copies.tolist())
        text += f"\n\n{pluralize(report['removed'], 'copy', 'copies')} removed"
        if report["removed"]:
            text += (
                f"; `handsim pool compact` gives the space back; next: {format_command(options, 'index add')}"
            )
    print(json.dumps(report, indent=1) if options.json else text)
    return 0


def _search(pool: Pool, near: bool) -> tuple[NDArray[np.uint64], dict[str, Any], str]:
    """The copies in a pool, all that was found, and what a person reads of it; also writes the groups."""
    with progress_bar("hashing crops", "crop") as progress:
        found = find_duplicates(pool, progress)
    found.groups.save(pool.path)
    copies = np.concatenate([found.exact_copies, found.near_copies]) if near else found.exact_copies
    kinds = _count_kinds(pool, found.groups)
    report = {
        "hands": len(pool),
        "compared": len(pool) - found.unread,
        "exact_copies": len(found.exact_copies),
        "near_copies": len(found.near_copies),
        "groups": {kind: {"groups": groups, "hands": hands} for kind, groups, hands in kinds},
        "recordings": [asdict(recording) for recording in found.recordings],
        "members": _members(found.groups),
    }
    return copies, report, _describe_search(pool, found, kinds)


def _count_kinds(pool: Pool, groups: DuplicateGroups) -> list[tuple[str, int, int]]:
    """(kind, groups, hands) for each kind of group."""
    videos = pool.videos.codes[pool.rows(groups.hand_ids)]
    count = int(groups.group.max(initial=-1)) + 1
    is_exact = np.ones(count, dtype=np.bool_)
    np.logical_and.at(is_exact, groups.group, groups.is_exact)
    first, last = np.full(count, len(pool.videos.names)), np.full(count, -1)
    np.minimum.at(first, groups.group, videos)
    np.maximum.at(last, groups.group, videos)
    sizes = np.bincount(groups.group, minlength=count)
    masks = {
        "the same crop": is_exact,
        "near, in several videos": ~is_exact & (first != last),
        "near, in one video": ~is_exact & (first == last),
    }
    return [(kind, int(mask.sum()), int(sizes[mask].sum())) for kind, mask in masks.items()]


def _members(groups: DuplicateGroups) -> list[list[str]]:
    """The ids of each group."""
    order = np.argsort(groups.group, kind="stable")
    borders = np.flatnonzero(np.diff(groups.group[order])) + 1
    parts = np.split(groups.hand_ids[order], borders) if len(order) else []
    return [list(map(format_hand_id, part.tolist())) for part in parts]


def _describe_search(pool: Pool, found: DuplicateSearch, kinds: list[tuple[str, int, int]]) -> str:
    rows = [[kind, f"{groups:,}", f"{hands:,}"] for kind, groups, hands in kinds]
    lines = [format_table(["duplicates", ">groups", ">hands"], rows), ""]
    lines += [
        f"{_name(recording.first)} and {_name(recording.second)}: {recording.alike / recording.hands:.0%} of "
        f"{pluralize(recording.hands, 'hand')} alike"
        for recording in found.recordings[:_ROWS]
    ]
    if len(found.recordings) > _ROWS:
        lines.append(f"and {pluralize(len(found.recordings) - _ROWS, 'more pair')} of videos (--json)")
    if found.recordings:
        lines.append("")
    lines.append(
        f"of {pluralize(len(pool), 'hand')}, {len(found.exact_copies):,} with the crop of another one, "
        f"{len(found.near_copies):,} near to one; --remove-copies [--near] removes them"
    )
    if found.unread:
        lines.append(f"not compared: {pluralize(found.unread, 'hand')} without a picture that can be read")
    lines.append(f"written to {pool.path / DUPLICATES_FILE}: mining and pre-training leave these pairs out")
    return "\n".join(lines)


def _name(video: str) -> str:
    return shorten(printable(video), _NAME_WIDTH)


@dataclass(frozen=True, eq=False)
class _Others:
    """The hands that a pool is compared with."""

    hashes: CropHashes
    keypoints: NDArray[np.float32]
    """[M, 21, 2 or 3] in the crop's unit square."""
    videos: list[str]
    """[M] what people call where each comes from."""


def _compare(pool: Pool, against: Path, near: bool) -> tuple[NDArray[np.uint64], dict[str, Any], str]:
    """As `_search`, of what the pool shares with another pool or a dataset."""
    with progress_bar(f"hashing {against.name}", "crop") as progress:
        others = _open_others(against, progress)
    with progress_bar("hashing crops", "crop") as progress:
        rows, places, is_exact = find_shared(pool, others.hashes, others.keypoints, progress)
    ids = pool.hand_ids[rows]
    here = [name or "" for name in pool.videos.values(rows)]
    there = [others.videos[place] for place in places.tolist()]
    pairs = Counter(zip(here, there, strict=True))
    sizes = Counter(pool.videos.values())
    table = [
        [_name(one), _name(two), f"{count:,}", f"{count / sizes[one]:.0%}"]
        for (one, two), count in pairs.most_common()
    ]
    report = {
        "hands": len(pool),
        "others": len(others.videos),
        "exact": int(is_exact.sum()),
        "near": int((~is_exact).sum()),
        "videos": [
            {"here": one, "there": two, "hands": count, "of": sizes[one]}
            for (one, two), count in pairs.most_common()
        ],
        "shared": [
            {"hand_id": format_hand_id(hand), "there": name, "kind": "exact" if exact else "near"}
            for hand, name, exact in zip(ids.tolist(), there, is_exact.tolist(), strict=True)
        ],
    }
    summary = (
        f"of {pluralize(len(pool), 'hand')}, {len(ids):,} in {against}, too: {report['exact']:,} with the "
        f"same crop, {report['near']:,} near"
    )
    text = summary
    if table:
        text = format_table(["here", "there", ">hands", ">of the video"], table[:_ROWS]) + "\n\n" + summary
    return (ids if near else ids[is_exact]), report, text


def _open_others(path: Path, progress: Progress) -> _Others:
    """The hands of a home, a pool or a dataset; raises NotThereError where there is none of them."""
    for folder in (Home(path).pool, path):
        if (folder / POOL_FILE).exists():
            other = Pool.open(folder)
            hashes = hash_crops(folder, other.hand_ids[other.has_crops], other.stored_jpeg, progress)
            rows = other.rows(hashes.hand_ids)
            return _Others(hashes, other.keypoints[rows], [name or "" for name in other.videos.values(rows)])
    return _open_dataset(path, progress)


def _open_dataset(root: Path, progress: Progress) -> _Others:
    """The hands of all splits of a labelled dataset."""
    from training.datasets.open_dataset import DATASETS, WHOLE_DATASETS, open_dataset

    parts: list[_Others] = []
    for dataset in DATASETS:
        for split in WHOLE_DATASETS.get(dataset, DATASETS[dataset][1]):
            try:
                hands = open_dataset(dataset, root, split)
            except HandsimError:
                continue  # another dataset, or one that was downloaded in part
            parts.append(_hash_labelled(hands, f"{dataset} {split}", progress))
    if not parts:
        raise NotThereError(
            f"{root} is no home with a pool and none of {', '.join(DATASETS)}; to compare with other "
            f"pictures, `handsim ingest` them into a home of their own"
        )
    return _Others(
        CropHashes.concatenate([part.hashes for part in parts]),
        np.concatenate([part.keypoints for part in parts]),
        [name for part in parts for name in part.videos],
    )


def _hash_labelled(hands: "StoredDataset", name: str, progress: Progress) -> _Others:
    """The hands of a split, cut out as a pool cuts them: about their joints."""
    keypoints = np.full((len(hands), JOINT_COUNT, 2), np.nan, dtype=np.float32)

    def read(number: int) -> bytes:
        hand = hands[number]
        if not hand.valid.any():
            raise HandsimError(f"{hand.sample_id} has no joint")
        square = square_around(box_around(hand.keypoints_2d_px[hand.valid]))
        keypoints[number] = apply_affine(crop_affine(square, 1.0), hand.keypoints_2d_px)
        return encode_jpeg(cut_crop(hand.image, square))

    numbers = np.arange(len(hands), dtype=np.uint64)
    parts = []
    for start in range(0, len(hands), _HANDS_AT_ONCE):
        parts.append(CropHashes.of_jpegs(numbers[start : start + _HANDS_AT_ONCE], read))
        progress(min(start + _HANDS_AT_ONCE, len(hands)), len(hands))
    hashes = CropHashes.concatenate(parts)
    return _Others(hashes, keypoints[hashes.hand_ids], [name] * len(hashes))
