"""Our words for what a search asks, in Qdrant's, and Qdrant's answers in ours."""

from collections.abc import Mapping, Sequence
from typing import Any

from qdrant_client import models

from index.filter import Filter
from index.neighbors import Payload
from index.options import SearchOptions, mmr_candidates


def nearest_query(vector: list[float], k: int, diversity: float) -> models.NearestQuery:
    """The hands nearest to a vector [D] or, with diversity, near and unlike each other."""
    if not diversity:
        return models.NearestQuery(nearest=vector)
    return models.NearestQuery(
        nearest=vector, mmr=models.Mmr(diversity=diversity, candidates_limit=mmr_candidates(k))
    )


def search_params(options: SearchOptions, default_ef: int) -> models.SearchParams:
    """How to look for them."""
    return models.SearchParams(
        hnsw_ef=options.ef or default_ef,
        exact=options.exact,
        # What a filter rules out tears holes into the graph; ACORN steps over them.
        acorn=models.AcornSearchParams(enable=True, max_selectivity=1.0),
    )


def qdrant_filter(
    filter: Filter | None, not_videos: Sequence[str] = (), not_hand: int | None = None
) -> models.Filter:
    """The conditions on the hands answered."""
    must_not: list[models.Condition] = []
    if not_videos:
        must_not.append(models.FieldCondition(key="video", match=_among(not_videos)))
    if not_hand is not None:
        must_not.append(models.HasIdCondition(has_id=[not_hand]))
    return models.Filter(must=[*_conditions(filter)], must_not=must_not)


def _conditions(filter: Filter | None) -> list[models.FieldCondition]:
    if filter is None:
        return []
    conditions = [
        models.FieldCondition(key=field, match=models.MatchAny(any=values))
        for field, values in filter.choices
    ]
    if filter.least_score is not None:
        at_least = models.Range(gte=filter.least_score)
        conditions.append(models.FieldCondition(key="score", range=at_least))
    return conditions


def _among(values: Sequence[str]) -> models.MatchValue | models.MatchAny:
    return models.MatchValue(value=values[0]) if len(values) == 1 else models.MatchAny(any=list(values))


def stored_payload(payload: Payload) -> dict[str, Any]:
    """What is written of a hand: what is known of it."""
    return {key: value for key, value in payload.items() if value is not None}


def known_payload(stored: Mapping[str, Any] | None) -> Payload:
    """What was written of a hand."""
    assert stored is not None
    return Payload(
        video=stored["video"],
        source=stored["source"],
        side=stored["side"],
        label=stored.get("label"),
        score=stored["score"],
        frame=stored["frame"],
    )
