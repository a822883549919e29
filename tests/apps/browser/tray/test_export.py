"""The files of the tray: they are read again by the libraries they are for."""

import csv
import io
import json
import zipfile

import numpy as np
import pyarrow.parquet as pq

from apps.browser.library import Library
from apps.browser.tray.export import FORMATS, make_file
from handsim.hand import format_hand_id


def test_each_format_holds_the_hands_in_their_order(library: Library) -> None:
    ids = library.open_pool().hand_ids[[7, 3, 30]]
    names = [format_hand_id(hand_id) for hand_id in ids.tolist()]
    files = {name: make_file(library, name, ids) for name in FORMATS}
    assert [row["hand_id"] for row in csv.DictReader(io.StringIO(files["CSV"].decode()))] == names
    assert [row["hand_id"] for row in json.loads(files["JSON"])] == names
    assert pq.read_table(io.BytesIO(files["Parquet"]))["id"].to_pylist() == names
    with zipfile.ZipFile(io.BytesIO(files["COCO"])) as archive:
        coco = json.loads(archive.read("hands/annotations.json"))
        pictures = [image["file_name"] for image in coco["images"]]
        assert pictures == [f"images/{name}.jpg" for name in names]
        assert {f"hands/{picture}" for picture in pictures} < set(archive.namelist())


def test_hands_that_left_the_pool_are_in_tables_alone(library: Library) -> None:
    ids = np.array([1, library.open_pool().hand_ids[0]], dtype=np.uint64)
    assert [row.get("video") is None for row in json.loads(make_file(library, "JSON", ids))] == [True, False]
    assert len(pq.read_table(io.BytesIO(make_file(library, "Parquet", ids)))) == 1
