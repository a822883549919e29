"""What a recipe says of mining in what was learned so far."""

from dataclasses import dataclass

from handsim.errors import HandsimError


@dataclass(frozen=True)
class FeedbackSettings:
    """Every so many epochs, an index version made with the encoder as it is then; off by default.

    Distances mean something else in it than in the one before: caps and bands of them do not carry over.
    """

    every_epochs: int = 0
    """How often; 0 never, so that pairs are mined in the pose embedding all along."""
    pose_share: float = 0.5
    """What the pose counts in a distance beside the picture: 0 the picture alone, 1 the pose alone."""
    components: int = 64
    """Length of the picture's part of a vector."""
    keep_versions: int = 2
    """How many of the versions made so are left in the index; the current one, those that readers have open
    and those made by others stay anyway."""

    def __post_init__(self) -> None:
        if self.every_epochs < 0:
            raise HandsimError(f"feedback.every_epochs is {self.every_epochs}; it is 0 (off) or more")
        if not 0 <= self.pose_share < 1:
            raise HandsimError(
                f"feedback.pose_share is {self.pose_share}; it lies from 0 to below 1, "
                "where nothing learned is left"
            )
        if self.components < 1 or self.keep_versions < 2:
            raise HandsimError(
                f"feedback has components {self.components} and keep_versions {self.keep_versions}; "
                "they are at least 1 and 2"
            )
