"""An evaluation of retrieval as a run: numbers in JSON, figures beside them."""

import json
from dataclasses import asdict
from pathlib import Path

from apps.figures.retrieval import explained_variance, pose_distances
from apps.figures.style import save
from handsim.atomic_file import write_text_atomically
from handsim.errors import HandsimError
from handsim.pool import Pool
from index import IndexVersion
from index.evaluation import RetrievalEvaluation, RetrievalReport


def check_labels(pool: Pool) -> None:
    """Raise HandsimError when there is no label to measure precision by."""
    if not pool.labels.names:
        raise HandsimError(
            f"no hand of {pool.path} has a label; ingest with --label-from, or leave --labels out"
        )


def save_evaluation(directory: Path, version: IndexVersion, evaluation: RetrievalEvaluation) -> None:
    """Write ``retrieval.json`` and the figures into a run's directory."""
    directory.mkdir(parents=True, exist_ok=True)
    facts = {
        "index_version": version.info.name,
        "embedding_fingerprint": version.info.embedding_fingerprint,
        **asdict(evaluation.report),
    }
    write_text_atomically(directory / "retrieval.json", json.dumps(facts, indent=1) + "\n")
    save(explained_variance(version.embedding), directory / "figures" / "explained_variance.png")
    if len(evaluation.mined_distances):
        drawn = pose_distances(evaluation.mined_distances, evaluation.random_distances)
        save(drawn, directory / "figures" / "pose_distances.png")


def summary_rows(report: RetrievalReport, *, labels: bool) -> list[list[str]]:
    """(What it is, its value) for the terminal."""
    rows = [
        ["hands in the index", f"{report.points:,}"],
        ["hands asked for", f"{report.sample:,}"],
        ["recall@1 against exact search", f"{report.recall_at_1:.4f}"],
        ["recall@10 against exact search", f"{report.recall_at_10:.4f}"],
    ]
    if labels and report.precision_at_1 is not None and report.precision_at_10 is not None:
        rows += [
            ["precision@1 by label, other videos", f"{report.precision_at_1:.4f}"],
            ["precision@10 by label, other videos", f"{report.precision_at_10:.4f}"],
        ]
    if report.mined_pose_distance is not None and report.random_pose_distance is not None:
        rows += [
            ["joint distance of mined pairs", f"{report.mined_pose_distance:.4f} crop widths"],
            ["joint distance of random pairs", f"{report.random_pose_distance:.4f} crop widths"],
        ]
    return [
        *rows,
        ["hands with a positive", f"{report.covered:.2%}"],
        ["mined pairs across videos", f"{report.cross_video_share:.2%}"],
        ["... without the other-video rule", f"{report.cross_video_share_unfiltered:.2%}"],
        ["explained variance", f"{report.explained_variance:.2%}"],
    ]
