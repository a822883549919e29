"""Writers of official layouts, as downloads have them, with true labels; pictures show one joint alone.

``HANDS`` are right hands in the camera frame, five of each of twelve people: a left hand is the mirror image.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim.skeleton import from_handsim_order
from handsim.synthetic.camera import project
from tests.training.datasets.builders import Joints, whole_hands

HANDS = whole_hands(videos=12)
PEOPLE = np.arange(len(HANDS)) // 5
SHOWN_JOINT = 9


def write_picture(path: Path, size_px: tuple[int, int], *points_px: NDArray[np.float64]) -> None:
    """A black picture with a white pixel for one of each hand's joints [21, 2], in our convention."""
    image = np.zeros((size_px[1], size_px[0], 3), dtype=np.uint8)
    for points in points_px:
        across, down = np.floor(points[SHOWN_JOINT]).astype(int)
        image[down, across] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95, compress_level=1)


def shows_its_joint(image: NDArray[np.uint8], points_px: NDArray[np.floating[Any]]) -> bool:
    """Whether the white pixel is where the labels have its joint; JPEG leaves some of it."""
    across, down = np.floor(points_px[SHOWN_JOINT]).astype(int)
    return bool(image[down, across].min() > 100) and int((image.max(axis=-1) > 100).sum()) <= 8


HO3D_SIZE_PX = (640, 480)
HO3D_K = np.array([[614.6, 0, 320.1], [0, 614.7, 240.3], [0, 0, 1]])
"""As HO-3D has it: the first pixel's centre is 0."""
HO3D_CAPTURES = [f"{letter}F" for letter in "ABCDEGHIJKLM"]
HO3D_EVALUATION = ("KF", "LF", "MF")


def ho3d_frame(row: int) -> str:
    """A person is a capture, which three cameras see in turn."""
    return f"{HO3D_CAPTURES[PEOPLE[row]]}1{row % 3}/{row:04d}"


def ho3d_joints(joints_mm: Joints) -> Joints:
    """In metres in OpenGL's frame, in MANO's order."""
    return np.asarray(from_handsim_order(joints_mm, "ho3d") / 1000 * [1, -1, -1])


def write_ho3d(root: Path, version: int = 2) -> None:
    frames: dict[str, list[str]] = {"train": [], "evaluation": []}
    truth = []
    for row, joints_mm in enumerate(HANDS):
        frame = ho3d_frame(row)
        sequence, number = frame.split("/")
        part = "evaluation" if frame.startswith(HO3D_EVALUATION) else "train"
        frames[part].append(frame)
        joints_m = ho3d_joints(joints_mm)
        if part == "evaluation":
            truth.append(joints_m.tolist())
        points = project(joints_mm, HO3D_K) + 0.5
        folder = root / part / sequence
        write_picture(folder / "rgb" / f"{number}.{'png' if version == 2 else 'jpg'}", HO3D_SIZE_PX, points)
        meta = {
            "camMat": HO3D_K,
            "handJoints3D": joints_m if part == "train" else joints_m[0],
            "objName": "021_bleach_cleanser",
            "objLabel": 12,
            "objRot": np.zeros((3, 1), dtype=np.float32),
            "handPose": None,
        }
        (folder / "meta").mkdir(exist_ok=True)
        (folder / "meta" / f"{number}.pkl").write_bytes(python2_pickle(meta))
    for part, names in frames.items():
        (root / f"{part}.txt").write_text("\n".join(names) + "\n")
    (root / "evaluation_xyz.json").write_text(json.dumps(truth))


def python2_pickle(values: dict[str, Any]) -> bytes:
    """Pickle as Python 2.7 and its numpy do in protocol 2: texts of bytes, numpy's old names, a memo."""
    return b"\x80\x02}q\x00(" + b"".join(_python2(name) + _python2(values[name]) for name in values) + b"u."


def _python2(value: NDArray[Any] | str | int | None) -> bytes:
    if isinstance(value, np.ndarray):
        shape = b"(" + b"".join(map(_python2, value.shape)) + b"t"
        order, code = value.dtype.str[:1].encode(), value.dtype.str[1:].encode()
        dtype = b"cnumpy\ndtype\nq\x05U" + bytes([len(code)]) + code + b"K\x00K\x01\x87q\x06Rq\x07"
        dtype += b"(K\x03U\x01" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x08b"
        content = value.tobytes()
        state = b"(K\x01" + shape + dtype + b"\x89T" + len(content).to_bytes(4, "little") + content + b"t"
        empty = (
            b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85q\x03U\x01bq\x04\x87R"
        )
        return empty + b"q\x09" + state + b"q\x0ab"
    if isinstance(value, str):
        return b"U" + bytes([len(value)]) + value.encode("latin-1")
    return b"N" if value is None else b"K" + bytes([value])


INTERHAND_SIZE_PX = (334, 512)
INTERHAND_CAMERAS = ("400262", "410028")
INTERHAND_SPLITS = ("train", "val", "test")


def interhand_camera(capture: int, camera: str) -> dict[str, NDArray[np.float64]]:
    """A camera anywhere in the world, as its file describes it."""
    rng = np.random.default_rng([capture, int(camera)])
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return {
        "campos": 900 * rng.standard_normal(3),
        "camrot": rotation * np.linalg.det(rotation),
        "focal": np.array([480.0, 481.5]) + rng.uniform(-5, 5, 2),
        "princpt": np.array([166.2, 255.1]),
    }


def interhand_hand(row: int) -> tuple[Joints, str]:
    """What its camera sees, and on which side: joints [21, 3] in mm in the camera frame, not mirrored."""
    side = ("right", "left")[row % 2]
    centred = HANDS[row] - HANDS[row].mean(axis=0) + [0, 0, 700.0]
    return centred * [-1 if side == "left" else 1, 1, 1], side


def write_interhand(root: Path) -> None:
    """Each person is a capture, seen by two cameras in turn; every sixth annotation is of two hands.

    The first hand of each split has an invalid joint in its frame, the second one in its picture, the third
    hand no valid one.
    """
    for number, split in enumerate(INTERHAND_SPLITS):
        data: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
        cameras: dict[str, dict[str, Any]] = {}
        joints: dict[str, dict[str, Any]] = {}
        rows = [row for row in range(len(HANDS)) if PEOPLE[row] % len(INTERHAND_SPLITS) == number]
        for place, row in enumerate(rows):
            capture, frame, camera = int(PEOPLE[row]), 1000 + 6 * row, INTERHAND_CAMERAS[row % 2]
            seen, side = interhand_hand(row)
            model = interhand_camera(capture, camera)
            sequence = f"Capture{capture}/00{capture:02d}_pointing/cam{camera}"
            file_name = f"{sequence}/image{frame}.jpg"
            image = {"id": 7 * row, "file_name": file_name, "capture": capture}
            image |= {"subject": capture % 9, "seq_name": sequence.split("/")[1], "camera": camera}
            image |= {"frame_idx": frame, "width": INTERHAND_SIZE_PX[0], "height": INTERHAND_SIZE_PX[1]}
            in_picture, in_frame = np.zeros((2, 42), dtype=np.int64)
            half = slice(21, 42) if side == "left" else slice(0, 21)
            in_picture[half] = place != 2
            in_frame[half] = 1
            in_frame[half.start + 3] = place != 0
            in_picture[half.start + 4] = place not in (1, 2)
            world = np.ones((42, 3))
            world[half] = from_handsim_order(seen, "interhand") @ model["camrot"] + model["campos"]
            pose = {"world_coord": world.tolist(), "joint_valid": in_frame[:, None].astype(bool).tolist()}
            joints.setdefault(str(capture), {})[str(frame)] = pose | {"hand_type": side}
            for key, values in model.items():
                of_capture = cameras.setdefault(str(capture), {}).setdefault(key, {})
                of_capture[camera] = values.tolist()
            annotation = {"id": 7 * row, "image_id": 7 * row, "bbox": [0.0, 0.0, 100.0, 100.0]}
            annotation |= {"joint_valid": in_picture[:, None].tolist(), "hand_type_valid": 1}
            annotation["hand_type"] = "interacting" if place % 6 == 5 else side
            data["images"].append(image)
            data["annotations"].append(annotation)
            k = np.diag([*model["focal"], 1.0])
            k[:2, 2] = model["princpt"] + 0.5
            write_picture(root / "images" / split / file_name, INTERHAND_SIZE_PX, project(seen, k))
        folder = root / "annotations" / split
        folder.mkdir(parents=True)
        for kind, content in (("data", data), ("camera", cameras), ("joint_3d", joints)):
            (folder / f"InterHand2.6M_{split}_{kind}.json").write_text(json.dumps(content))


COCO_SIZE_PX = (640, 427)
COCO_SPLITS = {"train": slice(0, 40), "val": slice(40, len(HANDS))}
"""Which of the hands are in each split; two, a right and a left one, are of one person in one picture."""
COCO_UNLABELLED = 7
"""Of every third hand that joint is not labelled."""


def coco_hand(row: int) -> tuple[NDArray[np.float64], str]:
    """2D joints [21, 2] of a hand as its picture shows them, and its side."""
    side = ("right", "left")[row % 2]
    flat = 0.6 * (HANDS[row] - HANDS[row].mean(axis=0))[:, :2]
    return flat * [-1 if side == "left" else 1, 1] + [160 if side == "right" else 480, 213], side


def write_coco_wholebody(root: Path) -> None:
    """The first hand of each split is not valid, the second one valid without a labelled joint."""
    (root / "annotations").mkdir(parents=True)
    for split, rows in COCO_SPLITS.items():
        content: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
        for row in range(rows.start, rows.stop, 2):
            image = {
                "id": 9000 + row,
                "file_name": f"{9000 + row:012d}.jpg",
                "coco_url": "http://",
                "license": 4,
            }
            content["images"].append(image | {"width": COCO_SIZE_PX[0], "height": COCO_SIZE_PX[1]})
            person: dict[str, Any] = {"id": 70 + row, "image_id": image["id"], "category_id": 1, "iscrowd": 0}
            person |= {"keypoints": [0] * 51, "face_kpts": [0.0] * 204, "face_valid": False}
            for hand in (row, row + 1):
                points, side = coco_hand(hand)
                numbers = np.column_stack([points, np.full(21, 0.5 + hand % 4)])
                if hand == rows.start + 1:
                    numbers[:] = 0
                elif hand % 3 == 0:
                    numbers[COCO_UNLABELLED] = 0
                is_valid = hand != rows.start
                person[f"{side}hand_kpts"] = (numbers * is_valid).ravel().tolist()
                person[f"{side}hand_valid"] = is_valid
                person[f"{side}hand_box"] = [0.0, 0.0, 0.0, 0.0]
            content["annotations"].append(person)
            picture = root / f"{split}2017" / str(image["file_name"])
            write_picture(picture, COCO_SIZE_PX, coco_hand(row)[0], coco_hand(row + 1)[0])
        (root / "annotations" / f"coco_wholebody_{split}_v1.0.json").write_text(json.dumps(content))


HINT_SIZE_PX = (512, 384)
HINT_SPLITS = ("train", "val", "test")
HINT_ABSENT = 7
"""Of every third hand that joint is not in the picture."""


def hint_hand(row: int) -> tuple[NDArray[np.float64], str, str]:
    """2D joints [21, 2] of a hand as its picture shows them, its side, and the name of its files."""
    side = ("right", "left")[row % 2]
    flat = 0.8 * (HANDS[row] - HANDS[row].mean(axis=0))[:, :2]
    name = f"ND_video{PEOPLE[row]}_frame{row:06d}_{side[0]}"
    return flat * [-1 if side == "left" else 1, 1] + [260, 190], side, name


def write_hint(root: Path) -> None:
    """Three of four hands are of New Days; the others are of Ego4D and have no picture."""
    for row in range(len(HANDS)):
        points, _, name = hint_hand(row)
        split = HINT_SPLITS[PEOPLE[row] % 3].upper()
        folder = root / f"{split}_{'newdays' if row % 4 else 'ego4d'}_img"
        hand = {
            "bbox": [[*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]],
            "keypoints": points.tolist(),
        }
        hand["occlusion"] = [int(joint % 5 == 0) for joint in range(21)]
        hand["existence"] = [int(joint != HINT_ABSENT or row % 3 > 0) for joint in range(21)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps([hand]))
        if row % 4:
            write_picture(folder / f"{name}.jpg", HINT_SIZE_PX, points)
