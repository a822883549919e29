"""``handsim index copy|backup|restore``: an index in another place."""

import argparse
from pathlib import Path

from apps.cli.console import add_action, find_catalog, open_index, progress_bar
from handsim.english import pluralize
from handsim.errors import HandsimError
from index.backup import Manifest, check_backup, restore_backup, write_backup
from index.copy import AS_ORIGINAL, Placement, copy_catalog
from index.plan import server_only_error


def add_arguments(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the actions."""
    copy = add_action(actions, "copy", "all versions to another place: a directory or a Qdrant server")
    copy.add_argument("source", metavar="FROM", help="directory or URL")
    copy.add_argument("target", metavar="TO", help="directory or URL")
    copy.set_defaults(run=_copy)
    backup = add_action(actions, "backup", "all versions into a directory with a manifest, each file checked")
    backup.add_argument("folder", metavar="TO", help="a new directory, or the backup of before")
    backup.set_defaults(run=_backup)
    restore = add_action(actions, "restore", "a backup into an empty index, checked before it is published")
    restore.add_argument("folder", metavar="FROM", help="what `handsim index backup` wrote")
    line = "only read every file and every hand of the backup"
    restore.add_argument("--check", action="store_true", help=line)
    restore.set_defaults(run=_restore)
    for action in (copy, restore):
        group = action.add_argument_group("to a server (default: as the original)")
        for name, line in (
            ("--shards", "parts, spread over its nodes"),
            ("--replicas", "nodes that hold each part"),
        ):
            group.add_argument(name, type=int, metavar="N", help=line)
        line = "vectors and graph on disk, slower"
        group.add_argument("--on-disk", action=argparse.BooleanOptionalAction, help=line)


def _read_placement(options: argparse.Namespace, *, is_server: bool, target: str) -> Placement:
    """What `add_arguments` declared; raises HandsimError where a directory cannot follow it."""
    placement = Placement(options.shards, options.replicas, options.on_disk)
    if placement != AS_ORIGINAL and not is_server:
        raise server_only_error(target)
    return placement


def _read_folder(options: argparse.Namespace) -> Path:
    if "://" in options.folder:
        raise HandsimError(
            f"a backup is a directory, and {options.folder} is an address; `handsim index copy` copies to one"
        )
    return Path(options.folder)


def _copy(options: argparse.Namespace) -> int:
    placement = _read_placement(options, is_server="://" in options.target, target=options.target)
    with (
        open_index(options, options.source) as source,
        open_index(options, options.target) as target,
        progress_bar("copying") as progress,
    ):
        names = copy_catalog(source, target, placement, progress=progress)
        current = target.current_name()
    print(f"{options.target} holds {', '.join(names)}, compared hand by hand; current: {current or 'none'}")
    return 0


def _backup(options: argparse.Namespace) -> int:
    folder = _read_folder(options)
    with find_catalog(options) as catalog, progress_bar("backing up") as progress:
        manifest, copied = write_backup(catalog, folder, progress)
    print(
        f"{folder} holds {_list_versions(manifest)}; current: {_current(manifest)}; {copied} copied "
        f"now, every file checked"
    )
    return 0


def _restore(options: argparse.Namespace) -> int:
    folder = _read_folder(options)
    if options.check:
        with progress_bar("checking") as progress:
            manifest = check_backup(folder, progress)
        print(
            f"{folder} is whole: {_list_versions(manifest)}; current: {_current(manifest)}; of "
            f"{manifest.address} at {manifest.made_at}"
        )
        return 0
    with find_catalog(options) as catalog, progress_bar("restoring") as progress:
        placement = _read_placement(options, is_server=catalog.root is None, target=catalog.address)
        manifest = restore_backup(folder, catalog, placement, progress)
    print(
        f"{catalog.address} holds {_list_versions(manifest)}, compared hand by hand; current: "
        f"{_current(manifest)}"
    )
    return 0


def _list_versions(manifest: Manifest) -> str:
    return ", ".join(f"{saved.name} ({pluralize(saved.points, 'hand')})" for saved in manifest.versions)


def _current(manifest: Manifest) -> str:
    return next(iter(manifest.publications), "none")
