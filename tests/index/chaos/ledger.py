"""What must be in an index, told from what its rebuilder said before it was killed."""

from collections import Counter


class Ledger:
    """Versions that must be there, and which may be current.

    What was said to be done is done, and stays done through a kill; what was only begun may be either.
    """

    def __init__(self, versions: list[str], current: str) -> None:
        self.done: Counter[str] = Counter()
        """How often each thing was done."""
        self._settle(versions, current)

    def _settle(self, versions: list[str], current: str) -> None:
        self._versions = set(versions)
        self._current = {current}
        self._may_go: set[str] = set()
        self._may_come = False

    def hear(self, line: str) -> None:
        """Take in a line of the rebuilder's."""
        word, *names = line.split()
        match word:
            case "building" | "adding":
                self._may_come = names == ["published"]
            case "publishing":
                self._current.add(names[0])
            case "published":
                self._current = set(names)
            case "pruning":
                self._may_go = set(sorted(self._versions)[: -int(names[0])])
            case "pruned":
                self._versions -= set(names)
                self._may_go = set()
            case "built":
                self._versions.add(names[0])
                self._may_come = False
                if names[1:]:
                    self._current = {names[0]}
        if word in {"built", "published"}:
            self.done[word] += 1
        elif word in {"pruned", "in-use"}:
            self.done[word] += len(names)

    def settle(self, versions: list[str], current: str | None) -> list[str]:
        """Compare with what is there and go on from it; returns what is wrong."""
        wrong = []
        lost = self._versions - set(versions) - self._may_go
        if lost:
            wrong.append(f"lost: {sorted(lost)}")
        new = set(versions) - self._versions if self._may_come else set()
        if current not in (self._current | new) & set(versions):
            wrong.append(f"current is {current}, not one of {sorted(self._current | new)}")
        self._settle(versions, current or "")
        return wrong
