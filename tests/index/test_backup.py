"""A backup: whole or refused, whatever engine it came from, whatever kills or damages it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from handsim import HandsimError
from handsim.errors import NotThereError
from index import Catalog, open_catalog, verify
from index.backup import check_backup, restore_backup, write_backup
from index.copy import Placement
from index.edge import locks
from tests.index.builders import MemoryServer, SmallData, copy_index, memory_catalog
from tests.index.test_copy import assert_same

pytestmark = pytest.mark.slow

NAMES = ["v0001", "v0002", "v0003"]


class Interruption:
    """Ends the work when the given version is all but complete."""

    def __init__(self, version: int) -> None:
        self.left = version

    def __call__(self, done: int, total: int) -> None:
        self.left -= done == total
        if not self.left:
            raise KeyboardInterrupt


@pytest.fixture
def source(three_versions: Path) -> Catalog:
    """An embedded index with three versions, only to be read."""
    return open_catalog(three_versions)


@pytest.fixture(scope="module")
def kept(three_versions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backup of ``three_versions``; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("kept") / "backup"
    write_backup(open_catalog(three_versions), folder)
    return folder


def test_a_backup_of_either_engine_is_restored_into_the_other(
    published: Catalog, small: SmallData, tmp_path: Path
) -> None:
    published.publish("v0002")
    with published.open("v0002") as version:
        published.record_verification("v0002", replace(verify(version, sample=20), recall_at_1=0.995))
    folder, to_server = tmp_path / "backup", published.root is not None
    manifest, copied = write_backup(published, folder)
    assert copied == 3
    assert check_backup(folder) == manifest
    assert manifest.publications == ["v0002", "v0003", "v0001"]
    assert [saved.checksum for saved in manifest.versions] == [info.checksum for info in published.versions()]
    with memory_catalog() if to_server else open_catalog(tmp_path / "restored") as target:
        assert restore_backup(folder, target, Placement(on_disk=True if to_server else None)) == manifest
        assert target.info("v0001").settings.on_disk == to_server
        assert target.read_verification("v0002") == published.read_verification("v0002")
        if not to_server:
            assert_same(target, published, small.pool)
        # It is the same index in another place: its next backup may go where the last one is.
        assert write_backup(target, folder)[0].publications == manifest.publications
        assert target.rollback() == "v0003"
        assert target.build(small.pool, small.embedding).name == "v0004", "its numbers go on"


def test_the_next_backup_copies_what_is_new_and_leaves_out_what_was_pruned(
    three_versions: Path, small: SmallData, tmp_path: Path
) -> None:
    source = open_catalog(copy_index(three_versions, tmp_path / "index"))
    folder = tmp_path / "backup"
    write_backup(source, folder)
    assert write_backup(source, folder)[1] == 0
    source.build(small.pool, small.embedding)
    source.prune(2)
    manifest, copied = write_backup(source, folder)
    assert copied == 1
    assert [saved.name for saved in manifest.versions] == ["v0003", "v0004"]
    assert manifest.publications == ["v0004", "v0003"]
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        saved.folder for saved in manifest.versions
    }
    with open_catalog(folder / manifest.versions[1].folder).current() as version:
        assert version.search_hands(small.pool.hand_ids[:1], 1).is_found.all(), "one can look into it"
    assert check_backup(folder) == manifest


def test_a_version_that_grew_in_place_is_copied_again(
    qdrant: MemoryServer, small: SmallData, tmp_path: Path
) -> None:
    with qdrant.catalog() as source:
        source.build(small.pool, small.embedding)
        write_backup(source, tmp_path / "backup")
        source.add(small.grown_pool, in_place=True)
        manifest, copied = write_backup(source, tmp_path / "backup")
        assert (copied, [saved.points for saved in manifest.versions]) == (1, [90])
        assert check_backup(tmp_path / "backup") == manifest


def test_a_killed_backup_is_the_one_before_and_goes_on(
    three_versions: Path, small: SmallData, tmp_path: Path
) -> None:
    source = open_catalog(copy_index(three_versions, tmp_path / "index"))
    folder, restored = tmp_path / "backup", open_catalog(tmp_path / "restored")
    with pytest.raises(KeyboardInterrupt):
        write_backup(source, folder, Interruption(2))
    for use in (check_backup, lambda folder: restore_backup(folder, restored)):
        with pytest.raises(
            HandsimError, match=r"the first backup to .* was interrupted; .* goes on with it$"
        ):
            use(folder)
    before, copied = write_backup(source, folder)
    assert copied == 3  # of which v0001 was there, and only compared
    source.build(small.pool, small.embedding)
    with pytest.raises(KeyboardInterrupt):
        write_backup(source, folder, Interruption(4))  # v0001 to v0003 are checked, v0004 is copied
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 4
    assert check_backup(folder) == before
    assert restore_backup(folder, restored) == before
    assert write_backup(source, folder)[0].publications[0] == "v0004"


def test_an_interrupted_restore_publishes_nothing_and_goes_on(kept: Path, tmp_path: Path) -> None:
    for target in (open_catalog(tmp_path / "index"), memory_catalog()):
        with pytest.raises(KeyboardInterrupt):
            restore_backup(kept, target, progress=Interruption(3 + 2))  # after three checks
        assert [info.name for info in target.versions()] == ["v0001"]
        assert target.current_name() is None
        manifest = restore_backup(kept, target)
        assert target.publications() == manifest.publications == ["v0003", "v0002", "v0001"]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def change(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("pattern", "damage", "message"),
    [
        ("v0002-*/v0002/shard/segments/*/vector_storage/vectors/chunk_0.mmap", change, "was cut or changed"),
        ("v0001-*/v0001/version.json", cut, "was cut or changed"),
        ("v0003-*/v0003/shard/edge_config.json", Path.unlink, "is missing"),
    ],
)
def test_a_damaged_file_is_named_nothing_is_restored_and_the_next_backup_mends_it(
    kept: Path,
    three_versions: Path,
    tmp_path: Path,
    pattern: str,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    folder = copy_index(kept, tmp_path / "backup")
    (file,) = folder.glob(pattern)
    damage(file)
    target = open_catalog(tmp_path / "index")
    for use in (check_backup, lambda folder: restore_backup(folder, target)):
        with pytest.raises(HandsimError, match=f"is damaged: {file.relative_to(folder)} {message}; take ano"):
            use(folder)
    assert not (tmp_path / "index").exists()
    # It was of an index that lies elsewhere by now, but has versions in common.
    manifest, copied = write_backup(open_catalog(copy_index(three_versions, tmp_path / "moved")), folder)
    assert copied == 1
    assert check_backup(folder) == manifest


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "handsim-index-backup", "version": 1}'])
def test_a_garbled_manifest_is_refused_and_a_newer_one_too(kept: Path, tmp_path: Path, text: str) -> None:
    folder = copy_index(kept, tmp_path / "backup")
    (folder / "backup.json").write_text(text)
    with pytest.raises(HandsimError, match=r"is damaged: backup\.json is garbled; take another one"):
        check_backup(folder)


def test_a_manifest_of_a_newer_format_or_that_leads_out_of_the_backup_is_refused(
    kept: Path, tmp_path: Path
) -> None:
    folder = copy_index(kept, tmp_path / "backup")
    record = json.loads((folder / "backup.json").read_text())
    (folder / "backup.json").write_text(json.dumps(record | {"version": 2}))
    with pytest.raises(HandsimError, match="has format 2, this handsim reads up to 1; upgrade handsim"):
        check_backup(folder)
    record["versions"][0]["folder"] = "../elsewhere"
    (folder / "backup.json").write_text(json.dumps(record))
    with pytest.raises(HandsimError, match="garbled"):
        check_backup(folder)


def test_what_may_not_be_overwritten_is_refused(
    kept: Path, three_versions: Path, small: SmallData, tmp_path: Path
) -> None:
    source, living = open_catalog(three_versions), open_catalog(tmp_path / "living")
    living.build(small.pool, small.other_embedding)
    before = living.versions()
    for index in (living, source):  # with other hands, and with the same, published
        with pytest.raises(
            HandsimError, match=r"is an index already \(v0001.*\); restore .* to another place"
        ):
            restore_backup(kept, index)
    assert living.versions() == before
    with pytest.raises(
        HandsimError, match=rf"is the backup of another index, {three_versions}; name another"
    ):
        write_backup(living, kept)
    with pytest.raises(
        HandsimError, match=r"/b is inside .* and would be lost with it; name a place outside"
    ):
        write_backup(source, three_versions / "b")
    with pytest.raises(HandsimError, match=r"is inside .* and would be lost with it"):
        restore_backup(kept, open_catalog(kept / "index"))
    begun = tmp_path / "begun"  # by a process that was killed at once
    begun.mkdir()
    (begun / ".lock").touch()
    (begun / ".backup.json.0a1b2c3d").touch()
    write_backup(source, begun)
    assert {path.name for path in begun.glob(".*")} == {".lock"}
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    for place in (tmp_path / "notes", tmp_path / "notes" / "a.txt", three_versions):
        with pytest.raises(
            HandsimError, match="holds something else, and no backup; name an empty directory"
        ):
            write_backup(source, place)
    with pytest.raises(
        NotThereError, match=r"there is no backup at .*; it is an index: `handsim index copy` c"
    ):
        check_backup(three_versions)
    with pytest.raises(NotThereError, match=r"there is no index at .*; `handsim index build` makes one"):
        write_backup(open_catalog(tmp_path / "none"), tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    check_backup(kept)


def test_a_backup_is_made_while_others_read_build_and_prune(
    three_versions: Path, small: SmallData, tmp_path: Path
) -> None:
    root = copy_index(three_versions, tmp_path / "index")
    source = open_catalog(root)
    removed: list[bool] = []

    def prune(done: int, total: int) -> None:
        if not removed:
            removed.append(source.remove("v0001"))  # it is being copied
            assert source.remove("v0002")

    with source.current() as reader, locks.lock_builder(root):
        manifest, _ = write_backup(source, tmp_path / "backup", prune)
        assert reader.search_hands(small.pool.hand_ids[:1], 1).is_found.all()
    assert removed == [False]
    assert [saved.name for saved in manifest.versions] == ["v0001", "v0003"]
    assert manifest.publications == ["v0003", "v0001"]


def test_the_backup_of_an_index_that_is_dropped_meanwhile_stays(
    kept: Path, three_versions: Path, small: SmallData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, source = copy_index(kept, tmp_path / "backup"), open_catalog(three_versions)
    listings = iter([source.versions(), [], []])
    monkeypatch.setattr(source, "versions", lambda: next(listings))
    with pytest.raises(NotThereError, match="there is no index at"):
        write_backup(source, folder)
    assert len(check_backup(folder).versions) == 3


def test_one_process_writes_a_backup_at_a_time(source: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "backup"

    def write_too(done: int, total: int) -> None:
        with pytest.raises(HandsimError, match=r"another process writes or restores .*; wait for it to end"):
            write_backup(source, folder)
        with pytest.raises(HandsimError, match="another process writes or restores"):
            check_backup(folder)

    write_backup(source, folder, write_too)
