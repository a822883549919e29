"""The ResNets that can encode, and what they run on."""

from typing import Final, Literal

Architecture = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
FEATURES: Final[dict[Architecture, int]] = {
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "resnet101": 2048,
    "resnet152": 2048,
}
"""F, how many pooled features each has."""

Device = Literal["auto", "cpu", "cuda"]
"""``auto``: a GPU where there is one."""
