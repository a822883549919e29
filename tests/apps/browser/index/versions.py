"""Index versions of which the facts alone matter, and hands that a pool gets later."""

from dataclasses import replace
from pathlib import Path

from apps.browser.index.overview import Overview
from handsim import Pool, PoolWriter
from handsim.embedding import load_embedding
from index import IndexSettings, VersionInfo, open_catalog
from tests.handsim.builders import make_hand

NEWER = VersionInfo(
    name="v0002",
    points=70,
    dimension=14,
    embedding_kind="pose",
    embedding_fingerprint="00112233aabbccdd",
    built_at="2026-01-02T03:04:05+00:00",
    build_seconds=12.5,
    settings=IndexSettings(),
    checksum="70-0",
    bytes_on_disk=1_500_000,
    recall_at_1=0.9987,
    is_current=True,
)
OLDER = replace(NEWER, name="v0001", points=60, is_current=False)
SOUND = Overview(
    address="/home/index",
    versions=(NEWER, OLDER),
    earlier="v0001",
    builder=None,
    pool_hands=70,
    embedding=("pose-14", "00112233aabbccdd"),
)


def with_current(**changes: object) -> Overview:
    """The sound one, but for its current version."""
    return replace(SOUND, versions=(replace(NEWER, **changes), OLDER))  # type: ignore[arg-type]


def more_hands(home: Path, hands: int = 10) -> None:
    """Into the pool, without pictures."""
    with PoolWriter(home / "pool", crop_size_px=64) as writer:
        for number in range(hands):
            writer.add(make_hand(number), None)


def build(home: Path, *, publish: bool = True) -> str:
    """Another version of the whole pool; returns its name."""
    with open_catalog(home / "index") as catalog:
        embedding = load_embedding(home / "embedding.json")
        return catalog.build(Pool.open(home / "pool"), embedding, publish=publish).name
