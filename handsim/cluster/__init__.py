"""Work shared out to the machines of a Ray cluster."""

from handsim.cluster.workers import TRIES, ClusterOptions, ClusterWorker, ClusterWorkers, Lost

__all__ = ["TRIES", "ClusterOptions", "ClusterWorker", "ClusterWorkers", "Lost"]
