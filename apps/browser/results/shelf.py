"""What evaluations and experiments of a home say, kept in mind for all who look."""

from apps.browser.file_memory import FileMemory
from apps.browser.results.experiments import read_results
from apps.browser.results.pose_report import read_pose_report


class ResultShelf:
    """Reads each file once, and again where it changed. Threads may share it."""

    def __init__(self) -> None:
        """Nothing is read before it is asked for."""
        self.pose_reports = FileMemory(read_pose_report)
        """Of ``pose.json``."""
        self.experiments = FileMemory(read_results)
        """Of an experiment's ``results.json``."""
