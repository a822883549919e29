"""Index versions made and verified, and what is said of them: as `handsim index` and the browser do it."""

from collections.abc import Callable

from apps.places import embedding_of
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog, IndexSettings, Verification, VersionInfo, verify
from index.points import Progress

VERIFIED_HANDS = 2000
"""How many are asked for, unless something else is said."""


def build_version(
    home: Home,
    catalog: Catalog,
    settings: IndexSettings,
    *,
    publish: bool,
    progress: Progress,
    say: Callable[[str], None],
) -> VersionInfo:
    """A new version of the home's whole pool by its embedding, which is fitted first where there is none.

    ``say`` gets a sentence where that was so. Raises as `index.catalog.Catalog.build`, NotThereError without
    a pool.
    """
    pool = Pool.open(home.pool)
    embedding, known = embedding_of(home, pool)
    if not known:
        say(f"fitted the embedding {home.embedding} on {len(pool):,} hands (`handsim embedding show`)")
    return catalog.build(pool, embedding, settings, publish=publish, progress=progress)


def built(info: VersionInfo) -> str:
    """What `build_version` did, in a sentence."""
    return f"{info.name}: {info.points:,} hands in {info.build_seconds:.1f} s, {_standing(info)}"


def add_hands(
    home: Home, catalog: Catalog, *, in_place: bool = False, publish: bool, progress: Progress
) -> tuple[VersionInfo, int]:
    """Those hands of the home's pool that the current version lacks, and how many they were.

    Raises as `index.catalog.Catalog.add`, NotThereError without a pool.
    """
    pool = Pool.open(home.pool)
    with catalog.current() as version:
        before = catalog.info(version.info.name).points
    info = catalog.add(pool, in_place=in_place, publish=publish, progress=progress)
    return info, info.points - before


def added(info: VersionInfo, new: int) -> str:
    """What `add_hands` did, in a sentence."""
    if not new:
        return f"{info.name} holds every hand of the pool already ({info.points:,})"
    return f"{info.name}: {info.points:,} hands, {new:,} of them new, {_standing(info)}"


def verify_version(
    home: Home, catalog: Catalog, name: str | None = None, *, sample: int = VERIFIED_HANDS
) -> tuple[str, Verification]:
    """Read all of a version, the current one unless another is named, and compare it with exact search.

    What was found is kept with it. Returns the version's name, too. Raises NotThereError for none of that
    name, HandsimError for a sample below 1.
    """
    pool_ids = Pool.open(home.pool).hand_ids if home.pool.is_dir() else None
    with catalog.open(name) if name else catalog.current() as version:
        found = verify(version, sample=sample, read_all=True, pool_ids=pool_ids)
    catalog.record_verification(version.info.name, found)
    return version.info.name, found


def verification_rows(name: str, found: Verification) -> list[list[str]]:
    """What a verification found, as pairs of what and how much."""
    return [
        ["version", name],
        ["hands", f"{found.points:,}"],
        ["linked into the graph", f"{found.indexed_share:.1%}"],
        [f"recall@1 over {found.sample:,} hands", f"{found.recall_at_1:.4f}"],
        ["recall@10", f"{found.recall_at_10:.4f}"],
        ["there twice", f"{found.duplicates:,}"],
        ["ids and vectors", "altered" if found.altered else "as written"],
        ["in the pool, not here", _count(found.missing_from_index)],
        ["here, not in the pool", _count(found.missing_from_pool)],
    ]


def _count(number: int | None) -> str:
    return "no pool here" if number is None else f"{number:,}"


def _standing(info: VersionInfo) -> str:
    if info.is_current:
        return "published"
    return f"not published; `handsim index publish {info.name}` does"
