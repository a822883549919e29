"""What stands between features and loss while an encoder is pre-trained."""

from torch import nn

from handsim.errors import HandsimError


class ProjectionHead(nn.Sequential):
    """Projections z [B, M] of features [B, F]: linear, batch norm, ReLU, linear without bias.

    As in PeCLR (arXiv 2106.05953) and SiMHand, 2048-512-128; a perceptron with one hidden layer is SimCLR's
    g(h) (arXiv 2002.05709, section 2.1). It is not normalised: the loss does that. Raises HandsimError for
    widths below 1.
    """

    def __init__(self, in_features: int, hidden: int = 512, out: int = 128) -> None:
        """``in_features`` is F, the encoder's; ``out`` is M, even where projections are read as points."""
        for name, width in (("in_features", in_features), ("hidden", hidden), ("out", out)):
            if width < 1:
                raise HandsimError(f"the projection head's {name} is {width}; it is at least 1")
        super().__init__(
            nn.Linear(in_features, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, out, bias=False),
        )
