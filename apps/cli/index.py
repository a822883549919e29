"""``handsim index build|list|publish|rollback|prune|add|verify|drop``; others are in `index_backup.py` and
`index_doctor.py`.

The first part makes and verifies versions for the home, for these commands and for the jobs of the browser.
"""

import argparse
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final

from tqdm import tqdm

from apps.cli import index_backup, index_doctor
from apps.cli.cluster import add_cluster_argument, read_cluster_options
from apps.cli.console import (
    add_action,
    describe_fit,
    find_catalog,
    find_home,
    format_command,
    format_table,
    load_or_fit_embedding,
    printable,
    progress_bar,
)
from apps.cli.index_doctor import TARGET_RECALL, add_recall_argument, format_sweep
from handsim.cluster import ClusterOptions
from handsim.embedding import (
    LEAST_LABELLED,
    BlendEmbedding,
    Embedding,
    ImageEmbedding,
    can_embed,
    can_embed_hands,
    lacks_depth,
)
from handsim.english import percent, pluralize
from handsim.errors import HandsimError
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog, IndexSettings, Verification, VersionInfo, verify
from index.ef_sweep import EfMeasurement, smallest_ef, sweep_ef, unreached_recall
from index.evaluation import LEAST_RECALL
from index.info import VersionHealth
from index.points import Difference, Progress
from index.query import MIN_POSITIVE_DISTANCE

DEFAULT_SAMPLE: Final = 2000
"""Hands that a verification searches for."""
EXIT_UNSOUND: Final = 1


def build_version(
    home: Home,
    catalog: Catalog,
    settings: IndexSettings,
    *,
    publish: bool,
    recall: float | None = None,
    progress: Progress,
    print_line: Callable[[str], None],
    announce: Callable[[str], None],
    cluster: ClusterOptions | None = None,
) -> VersionInfo:
    """A new version of the home's whole pool with the home's embedding, which is fitted if there is none.

    ``print_line`` gets a sentence if it was fitted, and one on each kind of hands that are left out;
    ``announce`` one on what is about to be written. A Ray ``cluster`` encodes pictures. Raises as
    `index.catalog.Catalog.build`, and NotThereError without a pool.
    """
    pool = Pool.open(home.pool)
    embedding, is_new = load_or_fit_embedding(home, pool)
    if is_new:
        print_line(describe_fit(home, embedding))
    print_left_out(pool, embedding, print_line)
    if cluster is not None:
        _encode_on_cluster(cluster, pool, embedding, progress, print_line)
    return catalog.build(
        pool, embedding, settings, publish=publish, recall=recall, progress=progress, announce=announce
    )


def _encode_on_cluster(
    cluster: ClusterOptions,
    pool: Pool,
    embedding: Embedding,
    progress: Progress,
    print_line: Callable[[str], None],
) -> None:
    """Have a cluster encode the pictures of the hands that an index takes, before it is built of them."""
    image = embedding.image if isinstance(embedding, BlendEmbedding) else embedding
    if not isinstance(image, ImageEmbedding):
        print_line("--ray: nothing to share out, this embedding looks at no pictures")
        return
    from handsim.embedding.ray_encoding import encode_on_cluster

    is_taken = can_embed_hands(embedding, pool) & pool.has_crops
    encode_on_cluster(cluster, image, pool, pool.hand_ids[is_taken], progress, print_line)


def print_left_out(pool: Pool, embedding: Embedding, print_line: Callable[[str], None]) -> None:
    """Say what an index does with the hands of a pool that lack joints or a side, if there are any."""
    if line := pool.describe_unknown_sides():
        print_line(line)
    partly = pool.keypoints[pool.has_side & ~pool.is_complete]
    completed = int(can_embed(embedding.unlabelled, partly).sum())
    left_out = len(partly) - completed
    if completed:
        one = "hand with unlabelled joints is completed by its other joints"
        print_line(
            pluralize(completed, one, "hands with unlabelled joints are completed by their other joints")
        )
    if left_out and embedding.unlabelled == "complete":
        hands = pluralize(left_out, "hand is left out: it has", "hands are left out: they have")
        print_line(f"{hands} fewer than {LEAST_LABELLED} labelled joints")
    elif left_out:
        remedy = (
            "" if embedding.kind == "image" else "; `handsim embedding fit --unlabelled complete` takes them"
        )
        hands = pluralize(left_out, "hand with unlabelled joints is", "hands with unlabelled joints are")
        print_line(f"{hands} left out{remedy}")
    if embedding.depth and (flat := int((pool.is_usable & lacks_depth(pool.keypoints)).sum())):
        hands = pluralize(flat, "hand without depth is", "hands without depth are")
        print_line(f"{hands} left out; `handsim embedding fit` without --depth takes them")


def describe_build(info: VersionInfo) -> str:
    """What `build_version` did, in a sentence."""
    hands = pluralize(info.points, "hand")
    return f"{info.name}: {hands} in {info.build_seconds:.1f} s, {_describe_publication(info)}"


def add_hands(
    home: Home,
    catalog: Catalog,
    *,
    in_place: bool = False,
    publish: bool,
    progress: Progress,
    print_line: Callable[[str], None],
    announce: Callable[[str], None],
    cluster: ClusterOptions | None = None,
) -> tuple[VersionInfo, Difference]:
    """Have the index follow the home's pool; returns also how the current version differed from it.

    ``print_line`` gets a sentence on each kind of hands that are left out, ``announce`` one where a finished
    version is found; a Ray ``cluster`` encodes pictures. Raises as `index.catalog.Catalog.add`, and
    NotThereError without a pool.
    """
    pool = Pool.open(home.pool)
    with catalog.current() as version:
        print_left_out(pool, version.embedding, print_line)
        if cluster is not None:
            _encode_on_cluster(cluster, pool, version.embedding, progress, print_line)
    difference = catalog.compare(pool)
    info = catalog.add(
        pool,
        difference=difference,
        in_place=in_place,
        publish=publish,
        progress=progress,
        announce=announce,
    )
    return info, difference


def describe_addition(info: VersionInfo, difference: Difference) -> str:
    """What `add_hands` did, in a sentence."""
    if not difference:
        return f"{info.name} holds every hand of the pool already ({info.points:,})"
    changes = [f"{len(difference.new):,} of them new"]
    if len(difference.removed):
        changes.append(f"{len(difference.removed):,} removed")
    if len(difference.changed):
        changes.append(f"{len(difference.changed):,} with a new video, source, label or side")
    return (
        f"{info.name}: {pluralize(info.points, 'hand')}, {', '.join(changes)}, {_describe_publication(info)}"
    )


def _describe_publication(info: VersionInfo) -> str:
    if info.is_current:
        return "published"
    return f"not published; `handsim index publish {info.name}` does"


def verify_version(
    home: Home,
    catalog: Catalog,
    name: str | None = None,
    *,
    sample: int = DEFAULT_SAMPLE,
    ef: int | None = None,
) -> tuple[str, Verification]:
    """Read all of a version (default: the current one), compare it with exact search, and record the result.

    Its queries look at ``ef`` candidates from then on, None: at as many as before.
    Returns the version's name, too. Raises NotThereError for an unknown name, HandsimError for a sample
    below 1.
    """
    pool = Pool.open(home.pool) if home.pool.is_dir() else None
    with catalog.open(name) if name else catalog.current() as version:
        pool_ids = None
        if pool is not None:
            pool_ids = pool.hand_ids[can_embed_hands(version.embedding, pool)]
        verification = verify(version, sample=sample, read_all=True, pool_ids=pool_ids, ef=ef)
    catalog.record_verification(version.info.name, verification)
    return version.info.name, verification


def summarize_verification(name: str, verification: Verification) -> list[list[str]]:
    """Rows of a property and its value."""

    def count(hands: int | None) -> str:
        return "no pool here" if hands is None else f"{hands:,}"

    return [
        ["version", name],
        ["hands", f"{verification.points:,}"],
        [
            "linked into the graph",
            percent(verification.indexed_share)
            if verification.indexed_share
            else "none: so few hands are compared exactly",
        ],
        [f"recall@1 over {pluralize(verification.sample, 'hand')}", f"{verification.recall_at_1:.4f}"],
        ["recall@10", f"{verification.recall_at_10:.4f}"],
        *_summarize_filters(verification),
        ["candidates of a query (ef)", "all" if verification.ef is None else f"{verification.ef}"],
        [
            "matches at distance 0",
            f"{verification.positives_at_zero:,}, below {MIN_POSITIVE_DISTANCE:g} "
            f"{verification.positives_too_near:,}",
        ],
        ["there twice", f"{verification.duplicates:,}"],
        ["ids and vectors", "altered" if verification.altered else "as written"],
        ["in the pool, not here", count(verification.missing_from_index)],
        ["here, not in the pool", count(verification.missing_from_pool)],
    ]


def _summarize_filters(verification: Verification) -> list[list[str]]:
    rows = []
    if verification.recall_at_min_score is not None:
        recall = f"{verification.recall_at_min_score:.4f}"
        rows.append([f"recall@1 with --min-score {verification.min_score:.3f}", recall])
    if verification.recall_at_rare_label is not None:
        recall = f"{verification.recall_at_rare_label:.4f}"
        rows.append([f"recall@1 among the label {printable(verification.rare_label or '')}", recall])
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    build = _add_build(actions)
    add_action(actions, "list", "the versions, oldest first").set_defaults(run=_list)
    publish = add_action(actions, "publish", "make a version the current one, for all readers at once")
    publish.add_argument("version", metavar="VERSION", help="its name, as `handsim index list` shows it")
    publish.set_defaults(run=_publish)
    rollback = add_action(actions, "rollback", "go back to the version published before the current one")
    rollback.set_defaults(run=_rollback)
    prune = add_action(actions, "prune", "remove old versions and the remains of killed builds")
    line = "newest versions to keep, besides the current one and those in use (%(default)s)"
    prune.add_argument("--keep", type=int, default=2, metavar="N", help=line)
    prune.set_defaults(run=_prune)
    add = add_action(
        actions, "add", "have the index follow the pool: hands that are new, removed or relabelled"
    )
    add.add_argument(
        "--in-place", action="store_true", help="on a server: into the current version, not into a new one"
    )
    add.set_defaults(run=_add)
    for action in (build, add):
        add_cluster_argument(action)
        action.add_argument(
            "--no-publish", action="store_true", help="do not make it current; `handsim index publish` does"
        )
    _add_verify(actions)
    index_doctor.add_arguments(actions)
    index_backup.add_arguments(actions)
    drop = add_action(actions, "drop", "remove a version, or the whole index")
    what = drop.add_mutually_exclusive_group(required=True)
    what.add_argument("version", nargs="?", metavar="VERSION", help="its name; not the current one")
    what.add_argument("--all", action="store_true", help="every version, the current one too")
    drop.set_defaults(run=_drop)


def _add_build(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    build = add_action(actions, "build", "a new version of the whole pool; readers go on meanwhile")
    defaults = IndexSettings()
    for name, value, line in (
        ("--m", defaults.m, "links of each hand in the graph"),
        ("--ef-construct", defaults.ef_construct, "candidates looked at for each link"),
        ("--ef", defaults.ef, "candidates that a query looks at"),
        ("--shards", defaults.shards, "on a server: parts, spread over its nodes"),
        ("--replicas", defaults.replicas, "on a server: nodes that hold each part"),
    ):
        build.add_argument(name, type=int, default=value, metavar="N", help=f"{line} (%(default)s)")
    build.add_argument(
        "--on-disk", action="store_true", help="on a server: vectors and graph on disk, slower"
    )
    add_recall_argument(build, "queries look at as many candidates as this recall@1 takes, and not at --ef")
    build.set_defaults(run=_build)
    return build


def _add_verify(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    check = add_action(actions, "verify", "whether a version is whole and finds what exact search finds")
    check.add_argument("version", nargs="?", metavar="VERSION", help="its name (default: the current one)")
    check.add_argument(
        "--sample", type=int, default=DEFAULT_SAMPLE, metavar="N", help="hands to search for (%(default)s)"
    )
    check.add_argument("--json", action="store_true", help="print all of it as JSON")
    check.add_argument(
        "--ef-sweep",
        action="store_true",
        help="measure recall and rate for a row of ef; queries then take the smallest that is good enough",
    )
    add_recall_argument(check, "recall@1 that is good enough (%(default)s)", TARGET_RECALL)
    check.set_defaults(run=_verify)


@contextmanager
def _default_ctrl_c() -> Iterator[None]:
    """Have Ctrl-C end the process at once: the engine links hands for minutes, and Python would only wait.

    Nothing is lost: readers go on, and the next command cleans up.
    """
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _build(options: argparse.Namespace) -> int:
    settings = IndexSettings(
        m=options.m,
        ef_construct=options.ef_construct,
        ef=options.ef,
        shards=options.shards,
        replicas=options.replicas,
        on_disk=options.on_disk,
    )
    with find_catalog(options) as catalog, _default_ctrl_c(), progress_bar("indexing") as progress:
        info = build_version(
            find_home(options),
            catalog,
            settings,
            publish=not options.no_publish,
            recall=options.recall,
            progress=progress,
            print_line=tqdm.write,
            announce=tqdm.write,
            cluster=read_cluster_options(options, gpus=1),
        )
    print(describe_build(info))
    return 0


def _add(options: argparse.Namespace) -> int:
    home, publish = find_home(options), not options.no_publish
    with find_catalog(options) as catalog, _default_ctrl_c(), progress_bar("adding") as progress:
        info, difference = add_hands(
            home,
            catalog,
            in_place=options.in_place,
            publish=publish,
            progress=progress,
            print_line=tqdm.write,
            announce=tqdm.write,
            cluster=read_cluster_options(options, gpus=1),
        )
    print(describe_addition(info, difference))
    return 0


def _list(options: argparse.Namespace) -> int:
    with find_catalog(options) as catalog:
        versions, builder = catalog.versions(), catalog.active_builder()
        published, remnants = set(catalog.publications()), catalog.remnants()
        health = {info.name: catalog.read_health(info.name) for info in versions}
    if not versions:
        print(f"no versions yet; next: {format_command(options, 'index build')}")
    else:
        header = ["", "version", ">hands", "embedding", "built (UTC)", ">took", ">size", ">recall@1"]
        print(format_table(header, [_make_row(info, published, health[info.name]) for info in versions]))
    lines = [f"{name} on the server: {known}" for name, known in health.items() if known is not None]
    if lines:
        print("\n" + "\n".join(lines))
    if versions and not any(info.is_current for info in versions):
        publish = format_command(options, f"index publish {versions[-1].name}")
        print(f"\nnone of them is current; `{publish}` makes it so")
    if builder:
        print(f"\nanother one is being built by {builder}")
    elif remnants:
        print(f"\nleft by processes that ended: {', '.join(map(str, remnants))}")
        build, prune = (format_command(options, f"index {action}") for action in ("build", "prune"))
        print(f"`{build}` continues or replaces what is unfinished, `{prune}` removes it")
    return 0


def _make_row(info: VersionInfo, published: set[str], health: VersionHealth | None) -> list[str]:
    size = health.bytes if health is not None else info.bytes_on_disk
    return [
        "current" if info.is_current else "" if info.name in published else "unpublished",
        info.name,
        f"{info.points:,}",
        f"{info.embedding_kind}-{info.dimension} {info.embedding_fingerprint}",
        info.built_at[:19].replace("T", " "),
        f"{info.build_seconds:,.1f} s",
        "" if size is None else f"{size / 1e6:,.1f} MB",
        "not verified" if info.recall_at_1 is None else f"{info.recall_at_1:.4f}",
    ]


def _publish(options: argparse.Namespace) -> int:
    with find_catalog(options) as catalog:
        catalog.publish(options.version)
    print(f"{options.version} is now the current version")
    return 0


def _rollback(options: argparse.Namespace) -> int:
    with find_catalog(options) as catalog:
        before = catalog.current_name()
        name = catalog.rollback()
    print(f"{name} is now the current version, {before} no longer")
    return 0


def _prune(options: argparse.Namespace) -> int:
    with find_catalog(options) as catalog:
        lines: list[str] = []

        def announce(sentence: str) -> None:
            lines.append(sentence)
            print(sentence, flush=True)

        removed, in_use = catalog.prune(options.keep, announce)
    if removed or not lines:
        print(f"removed {', '.join(removed)}" if removed else "nothing to remove")
    if in_use:
        print(f"left {', '.join(in_use)}: readers have them open")
    return 0


def _verify(options: argparse.Namespace) -> int:
    measured: list[EfMeasurement] = []
    best: EfMeasurement | None = None
    with find_catalog(options) as catalog:
        if options.ef_sweep:
            with catalog.open(options.version) if options.version else catalog.current() as version:
                options.version = version.info.name
                measured = [*sweep_ef(version, sample=options.sample)]
            best = smallest_ef(measured, options.recall)
        name, verification = verify_version(
            find_home(options),
            catalog,
            options.version,
            sample=options.sample,
            ef=None if best is None else best.ef,
        )
    problems = verification.problems()
    if measured and best is None:
        problems.append(unreached_recall(options.recall))
    if options.json:
        sweep = {"ef_sweep": [asdict(one) for one in measured]} if measured else {}
        print(json.dumps({"version": name, **asdict(verification), **sweep, "problems": problems}))
        return EXIT_UNSOUND if problems else 0
    if measured:
        print(format_sweep(measured, best) + "\n")
    print(format_table(["", ""], summarize_verification(name, verification)).lstrip("\n"))
    add = format_command(options, "index add")
    if verification.missing_from_index:
        print(f"\n`{add}` makes the hands searchable that are in the pool alone")
    if verification.missing_from_pool:
        print(f"\n`{add}` leaves the hands out that are here alone")
    if verification.positives_too_near:
        print("\nmining leaves matches so near out; `handsim pool duplicates` finds what is there twice")
    filtered = (verification.recall_at_min_score, verification.recall_at_rare_label)
    if any(recall is not None and recall < LEAST_RECALL for recall in filtered):
        print("\nqueries through filters find less: `handsim query --exact` finds all")
    for problem in problems:
        print(f"\n{name} is not sound: {problem}")
    return EXIT_UNSOUND if problems else 0


def _drop(options: argparse.Namespace) -> int:
    with find_catalog(options) as catalog:
        if options.all:
            catalog.drop()
            print(f"{catalog.address} is removed")
        elif catalog.remove(options.version):
            print(f"{options.version} is removed")
        else:
            raise HandsimError(f"a reader has {options.version} open; end it first, or wait")
    return 0
