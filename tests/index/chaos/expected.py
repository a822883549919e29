"""The state that an index must have, from what its rebuilder printed before it was killed."""

from collections import Counter


class ExpectedState:
    """The versions that must exist, and which may be current.

    What the rebuilder reported as done must survive a kill; what it had only begun may be done or not.
    """

    def __init__(self, versions: list[str], current: str) -> None:
        self.done: Counter[str] = Counter()
        """How often each thing was done."""
        self._reset(versions, current)

    def _reset(self, versions: list[str], current: str) -> None:
        self._versions = set(versions)
        self._current = {current}
        self._may_disappear: set[str] = set()
        self._may_be_published = False

    def update(self, line: str) -> None:
        """Process a line of the rebuilder."""
        action, *names = line.split()
        match action:
            case "building" | "adding":
                self._may_be_published = names == ["published"]
            case "publishing":
                self._current.add(names[0])
            case "published":
                self._current = set(names)
            case "pruning":
                self._may_disappear = set(sorted(self._versions)[: -int(names[0])])
            case "pruned":
                self._versions -= set(names)
                self._may_disappear = set()
            case "built":
                self._versions.add(names[0])
                self._may_be_published = False
                if names[1:]:
                    self._current = {names[0]}
        if action in {"built", "published"}:
            self.done[action] += 1
        elif action in {"pruned", "in-use"}:
            self.done[action] += len(names)

    def check(self, versions: list[str], current: str | None) -> list[str]:
        """Compare with the actual state and continue from that; returns the problems."""
        problems = []
        lost = self._versions - set(versions) - self._may_disappear
        if lost:
            problems.append(f"lost: {sorted(lost)}")
        new = set(versions) - self._versions if self._may_be_published else set()
        if current not in (self._current | new) & set(versions):
            problems.append(f"current is {current}, not one of {sorted(self._current | new)}")
        self._reset(versions, current or "")
        return problems
