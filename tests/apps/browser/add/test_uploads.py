"""Uploaded files as pictures of the home: where they lie, and what is refused."""

import io
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from apps.browser.add.uploads import parse_folder_name, store_uploads
from apps.browser.library import UPLOAD_LIMIT_MB
from handsim.errors import HandsimError


@dataclass
class File:
    name: str
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def getvalue(self) -> bytes:
        return self.content


def picture(grey: int = 100) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (grey, grey, grey)).save(buffer, "JPEG")
    return buffer.getvalue()


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_pictures_of_one_name_are_both_kept_and_the_same_picture_once(tmp_path: Path) -> None:
    uploads = [File("IMG_1.jpg", picture(1)), File("IMG_1.jpg", picture(2)), File("IMG_1.jpg", picture(1))]
    first = store_uploads(uploads, tmp_path)
    assert below(tmp_path) == ["IMG_1 (again).jpg", "IMG_1.jpg"]
    assert [path.name for path in first.files] == ["IMG_1.jpg", "IMG_1 (again).jpg", "IMG_1.jpg"]
    written_at = first.files[0].stat().st_mtime_ns
    assert store_uploads(uploads[:1], tmp_path).files == first.files[:1]
    assert first.files[0].stat().st_mtime_ns == written_at  # an ingest knows it again


def test_folders_of_an_uploaded_folder_stay_and_none_leads_out_of_it(tmp_path: Path) -> None:
    names = {
        "photos/anna/1.jpg": "photos/anna/1.jpg",
        "../../out.jpg": "out.jpg",
        "/etc/2.jpg": "etc/2.jpg",
        "a/.hidden/.3.jpg": "a/hidden/3.jpg",
        "4\n.jpg": "4_.jpg",
        "..": "picture",
        "ü/5.jpg": "ü/5.jpg",
    }
    uploads = [File(name, picture(place)) for place, name in enumerate(names)]
    stored = store_uploads(uploads, tmp_path / "home")
    assert (len(stored.files), stored.refused) == (len(names), [])
    assert below(tmp_path) == sorted(f"home/{name}" for name in names.values())


def test_what_is_no_picture_or_too_large_is_refused_in_a_sentence_and_the_rest_is_stored(
    tmp_path: Path,
) -> None:
    damaged = picture()[:200]
    files = {
        "notes.txt": b"hello",
        "empty.jpg": b"",
        "hands.tar": b"x" * 257 + b"ustar" + b"0" * 1000,
        "large.jpg": b"\0" * (UPLOAD_LIMIT_MB * 2**20 + 1),
        "damaged.jpg": damaged,
        "good.jpg": picture(),
    }
    stored = store_uploads([File(name, content) for name, content in files.items()], tmp_path)
    assert below(tmp_path) == ["damaged.jpg", "good.jpg"]  # the ingest says what is wrong with the first
    told = [sentence.split(";")[0] for sentence in stored.refused]
    assert told == [
        "notes.txt is not a picture",
        "empty.jpg is empty",
        "hands.tar is not a picture",
        "large.jpg has 25 MB",
    ]


@pytest.mark.parametrize("name", ["", "  ", ".hidden", "..", "a/b", "a\\b", "a\nb", "x" * 101])
def test_a_person_is_named_as_a_folder_can_be(name: str) -> None:
    with pytest.raises(HandsimError, match="cannot be the name of a person or recording"):
        parse_folder_name(name)
    assert parse_folder_name(" Anna-Lena Öz 2 ") == "Anna-Lena Öz 2"
