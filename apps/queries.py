"""What a user asks about, from wherever it comes: a hand of the index, a picture, a file of keypoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apps.pictures import seen_hands
from handsim.errors import HandsimError, NotThereError
from handsim.hand import Side, format_hand_id
from handsim.keypoints.keypoints_file import read_keypoints
from handsim.keypoints.ladder import open_detector
from handsim.keypoints.model_file import require_model
from handsim.media.images import decode_image, read_file
from handsim.pool import Pool
from index import IndexVersion


@dataclass(frozen=True, eq=False)
class Query:
    """One hand that is asked about."""

    facts: dict[str, Any]
    """What is known of it, as JSON."""
    title: tuple[str, ...]
    """What to call it, then details, for people."""
    keypoints: NDArray[np.float32] | None
    """[21, 3] in the unit square of ``crop``; None for a hand of the index, whose vector is there."""
    crop: NDArray[np.uint8] | None
    """RGB [S, S, 3], for the montage."""


def hand_query(hand_id: int, version: IndexVersion, pool: Pool | None) -> Query:
    """A hand of the index, with its picture where a pool holds it; raises NotThereError when unknown."""
    payload = version.payloads([hand_id])[0]
    facts = {"hand_id": format_hand_id(hand_id), **payload}
    title = (f"hand {format_hand_id(hand_id)}", payload["video"])
    keypoints = crop = None
    if pool is not None and hand_id in pool:
        keypoints = pool.keypoints[pool.rows(hand_id)[0]]
        crop = pool.crop(hand_id) if pool.has_crop(hand_id) else None
    return Query(facts, title, keypoints, crop)


def example_query(
    like: Sequence[int], unlike: Sequence[int], version: IndexVersion, pool: Pool | None
) -> Query:
    """Several hands of the index, with the picture of the first; raises NotThereError for an unknown one."""
    first = hand_query(like[0], version, pool)
    facts = {
        name: [format_hand_id(hand) for hand in hands] for name, hands in (("like", like), ("unlike", unlike))
    }
    counted = [f"like {len(like)} hand{'s' if len(like) > 1 else ''}"]
    if unlike:
        counted.append(f"unlike {len(unlike)}")
    title = (", ".join(counted), f"first: {format_hand_id(like[0])}")
    return Query(facts, title, first.keypoints, first.crop)


def keypoints_queries(path: Path, side: Side) -> list[Query]:
    """The hands of a keypoints file; raises HandsimError when it cannot be used."""
    hands = read_keypoints(path, side)
    return [
        Query({"file": str(path), "number": number}, (f"hand {number}", path.name), keypoints, None)
        for number, keypoints in enumerate(hands, start=1)
    ]


def image_queries(path: Path, model: Path | None) -> list[Query]:
    """Every hand of a picture; raises HandsimError when it cannot be used or shows none."""
    if not path.exists():
        raise NotThereError(f"{path} does not exist; give a picture, or a hand's id with --hand")
    image = decode_image(read_file(path))
    detector = open_detector(require_model(model))
    try:
        seen = seen_hands(image, detector)
    finally:
        detector.close()
    if not seen:
        raise HandsimError(f"no hand was found in {path}; try a picture where one is larger or clearer")
    queries = []
    for number, hand in enumerate(seen, start=1):
        facts = {
            "file": str(path),
            "number": number,
            "side": hand.side,
            "score": round(hand.score, 4),
            "box_px": np.round(hand.box_px, 1).tolist(),
        }
        title = (f"hand {number} of {len(seen)}", path.name, f"{hand.side}, score {hand.score:.2f}")
        queries.append(Query(facts, title, hand.keypoints, hand.crop))
    return queries
