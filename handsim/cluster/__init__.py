"""Work shared out to the machines of a Ray cluster."""

from handsim.cluster.workers import ClusterOptions, ClusterWorker, ClusterWorkers, Lost

__all__ = ["ClusterOptions", "ClusterWorker", "ClusterWorkers", "Lost"]
