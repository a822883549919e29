"""One split of DexYCB, read lazily from the official layout.

Layout: ``<subject>/<sequence>/<serial>/{color_%06d.jpg, labels_%06d.npz}``, ``<sequence>/meta.yml``,
``<sequence>/pose.npz`` and ``calibration/intrinsics/<serial>_640x480.yml``. Nothing is written there.
"""

from pathlib import Path

import numpy as np

from handsim.errors import HandsimError, NotThereError
from training.datasets.dexycb.files import EXTRACT_AGAIN, Sequence, read_camera, read_joints, read_sequence
from training.datasets.dexycb.splits import SEQUENCES_PER_SUBJECT, SERIALS, SUBJECTS, SplitRule, split_rule
from training.datasets.pictures import with_picture
from training.datasets.record import HandLabel, LabelledHand


class DexYCB:
    """A `HandDataset` of the frames of a split in which the hand is annotated, in the official order.

    Opening it reads two small files for each sequence, and no picture or label. ``skipped`` counts the
    pictures of the split in which no joint is annotated: they are no samples, here or in the official score.
    Raises HandsimError for an unknown split, and where what the split needs is not wholly there.
    """

    name = "dexycb"

    def __init__(self, root: Path, split: str) -> None:
        rule = split_rule(split)
        self.split = split
        self.root = root
        self._subjects, self._sequences = _sequences(root, rule)
        self._cameras = {camera: read_camera(root, SERIALS[camera]) for camera in rule.cameras}
        # Camera after camera in each sequence, as the official indices of samples count.
        tables = [
            np.stack(np.meshgrid(number, rule.cameras, np.flatnonzero(sequence.annotated), indexing="ij"), -1)
            for number, sequence in enumerate(self._sequences)
        ]
        self._table = np.concatenate([table.reshape(-1, 3) for table in tables]).astype(np.int32)
        pictures = sum(len(sequence.annotated) for sequence in self._sequences) * len(rule.cameras)
        self.skipped = pictures - len(self._table)
        if not len(self._table):
            raise HandsimError(
                f"none of the {pictures} pictures of {split} in {root} is annotated; {EXTRACT_AGAIN}"
            )

    def __len__(self) -> int:
        return len(self._table)

    def label(self, index: int) -> HandLabel:
        """The truth of one hand; raises HandsimError for damaged files and IndexError past the end."""
        sequence, camera, frame = self._table[index]
        path = self.files(index)[1]
        joints = read_joints(path)
        if not joints.valid.any():
            raise HandsimError(
                f"{path} has no valid joint, though pose.npz has the pose of the hand; {EXTRACT_AGAIN}"
            )
        label = HandLabel(
            sample_id=f"{path.parent.relative_to(self.root).as_posix()}/{frame:06d}",
            subject=self._subjects[sequence],
            side=self._sequences[sequence].side,
            size_px=self._cameras[camera].size_px,
            keypoints_2d_px=joints.picture_px,
            joints_3d_mm=joints.camera_mm,
            intrinsics=self._cameras[camera].intrinsics.copy(),
            valid=joints.valid,
        )
        return label.mirrored() if label.side == "left" else label

    def __getitem__(self, index: int) -> LabelledHand:
        return with_picture(self.label(index), self.files(index)[0], EXTRACT_AGAIN)

    def files(self, index: int) -> tuple[Path, ...]:
        """What one hand is read from: its picture and its labels."""
        sequence, camera, frame = map(int, self._table[index])
        folder = self._sequences[sequence].path / SERIALS[camera]
        return folder / f"color_{frame:06d}.jpg", folder / f"labels_{frame:06d}.npz"


def _sequences(root: Path, rule: SplitRule) -> tuple[list[str], list[Sequence]]:
    """The subject of each of a split's sequences, and the sequences, in the official order."""
    if not any((root / subject).is_dir() for subject in SUBJECTS):
        raise NotThereError(
            f"{root} has none of DexYCB's subjects ({SUBJECTS[0]}, ...); give the folder that they and "
            "calibration/ lie in"
        )
    subjects, sequences = [], []
    for subject in (SUBJECTS[index] for index in rule.subjects):
        folder = root / subject
        if not folder.is_dir():
            raise NotThereError(f"{folder} is missing and the split needs it; download {subject}.tar.gz")
        names = sorted(path.name for path in folder.iterdir() if path.is_dir())
        if len(names) != SEQUENCES_PER_SUBJECT:
            raise HandsimError(
                f"{folder} has {len(names)} sequences and not {SEQUENCES_PER_SUBJECT}, by whose order splits "
                f"are made; {EXTRACT_AGAIN}"
            )
        subjects += [subject] * len(rule.sequences)
        sequences += [read_sequence(folder / names[sequence]) for sequence in rule.sequences]
    return subjects, sequences
