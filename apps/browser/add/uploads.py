"""Uploaded pictures become files of the home, so that an ingest reads them as it reads any others.

``uploads/anna/IMG_0001.jpg``: the folder is the person or the recording. The files stay, for another detector
or a later version. A picture that is there already, byte for byte, is left as it is: the ingest knows it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from apps.browser.library import UPLOAD_LIMIT_MB
from handsim.errors import HandsimError, UnusableError
from handsim.files import replacing
from handsim.media import tell_kind

_LONGEST_NAME: Final = 100
_UNWANTED: Final = re.compile(r'[\x00-\x1f\x7f<>:"\\|?*]')
"""Letters that some file systems refuse."""
_KINDS: Final = ("picture", "animation")


class Upload(Protocol):
    """As Streamlit's `UploadedFile`; the name of a file of an uploaded folder has its folders."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    def getvalue(self) -> bytes: ...


@dataclass
class StoredUploads:
    files: list[Path] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Why a file was not stored, a sentence each."""


def parse_folder_name(text: str) -> str:
    """A person or recording as the name of a folder; raises HandsimError for what is none."""
    name = text.strip()
    if not name or name.startswith(".") or "/" in name or _UNWANTED.search(name) or len(name) > _LONGEST_NAME:
        raise HandsimError(
            f"{text!r} cannot be the name of a person or recording; use letters, digits, spaces and -_, "
            f"at most {_LONGEST_NAME}"
        )
    return name


def store_uploads(uploads: Iterable[Upload], folder: Path) -> StoredUploads:
    """Write pictures below ``folder``, in the folders of their names; what is no picture is refused."""
    stored = StoredUploads()
    for upload in uploads:
        if upload.size > UPLOAD_LIMIT_MB * 2**20:
            stored.refused.append(
                f"{upload.name} has {upload.size / 2**20:.0f} MB; upload pictures of at most "
                f"{UPLOAD_LIMIT_MB} MB, or give the folder that it lies in to `handsim ingest`."
            )
            continue
        try:
            stored.files.append(_store(upload, folder))
        except UnusableError as error:
            reason = "is empty" if error.reason == "empty file" else "is not a picture"
            stored.refused.append(
                f"{upload.name} {reason}; upload photographs: JPEG, PNG, WebP, HEIC, AVIF, BMP, GIF or TIFF. "
                "Videos, tars and annotations go in by `handsim ingest`."
            )
    return stored


def _store(upload: Upload, folder: Path) -> Path:
    """Raises UnusableError for a file that is no picture by its first bytes; a damaged one is stored."""
    content = upload.getvalue()
    for path in _free_names(folder.joinpath(*_safe_parts(upload.name))):
        if path.is_file() and path.read_bytes() == content:
            return path
        if not path.exists():
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        kind = tell_kind(temporary)
        if kind not in _KINDS:
            raise UnusableError("not an image", kind)
    return path


def _free_names(path: Path) -> Iterable[Path]:
    """``IMG_1.jpg``, ``IMG_1 (again).jpg``, ``IMG_1 (again, again).jpg`` ...

    No number is added: the last number in a picture's name is its frame.
    """
    yield path
    for times in count(1):
        yield path.with_stem(f"{path.stem} ({', '.join(['again'] * times)})")


def _safe_parts(name: str) -> list[str]:
    """Folders and file of an uploaded name, such that none leads out of the folder or hides."""
    parts = [_UNWANTED.sub("_", part)[-_LONGEST_NAME:].lstrip(".") for part in PurePosixPath(name).parts]
    return [part for part in parts if part.strip("/")] or ["picture"]
