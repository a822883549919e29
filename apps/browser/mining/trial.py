"""A mining policy to be tried on a sample, as a value: what the page asks, and what its address says."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, Literal, get_args

from handsim.errors import HandsimError
from index import MiningPolicy
from index.mining import DEFAULT_POLICY

SAMPLES: Final = (500, 2_000, 10_000)
"""Hands that a policy can be tried on."""
MOST_RANKS: Final = 32
"""The last rank that can be looked at."""
_LAST_SEED: Final = 9_999

Condition = Literal["other_video", "one_per_video", "first_rank", "max_distance"]
"""What of a policy leaves neighbours out."""
CONDITIONS: Final[dict[Condition, str]] = {
    "other_video": "other videos only",
    "one_per_video": "one per video",
    "first_rank": "the first rank",
    "max_distance": "the distance limit",
}
"""Their names, for people."""
_LOOSEST: Final = MiningPolicy(other_video=False)
_SWITCHES: Final = {"yes": True, "no": False}


@dataclass(frozen=True)
class MiningTrial:
    """Which policy is tried, and on which hands.

    Raises HandsimError for a sample that is none of `SAMPLES`, a seed that is no number from 0 to 9999 and a
    rank above `MOST_RANKS`.
    """

    policy: MiningPolicy = DEFAULT_POLICY
    """Which neighbours are positives."""
    sample: int = SAMPLES[1]
    """How many hands it is tried on."""
    seed: int = 0
    """Decides which hands these are."""

    def __post_init__(self) -> None:
        if self.sample not in SAMPLES:
            known = ", ".join(map(str, SAMPLES))
            raise HandsimError(f"sample is {self.sample}; a policy is tried on {known} hands")
        if not 0 <= self.seed <= _LAST_SEED:
            raise HandsimError(f"seed is {self.seed}; it is a whole number from 0 to {_LAST_SEED}")
        if self.policy.top_k > MOST_RANKS:
            raise HandsimError(
                f"top_k is {self.policy.top_k}; ranks up to {MOST_RANKS} are tried here, "
                f"`handsim mine` goes further"
            )

    def with_policy(self, policy: MiningPolicy) -> "MiningTrial":
        """Another policy on the same hands."""
        return replace(self, policy=policy)

    def of_other_hands(self) -> "MiningTrial":
        """The same policy on other hands."""
        return replace(self, seed=(self.seed + 1) % (_LAST_SEED + 1))

    @classmethod
    def names(cls) -> list[str]:
        """What an address may say."""
        return [*_POLICY_FIELDS, "sample", "seed"]

    def as_params(self) -> dict[str, str]:
        """What the address says: only what differs from the defaults."""
        plain, told = MiningTrial(), {}
        for held, of in ((self, plain), (self.policy, plain.policy)):
            for field in fields(held):
                value = getattr(held, field.name)
                if field.name != "policy" and value != getattr(of, field.name):
                    told[field.name] = _as_text(value)
        return told

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> "MiningTrial":
        """Read what `as_params` wrote; raises HandsimError for an address that says something else."""
        policy = {name: _from_text(name, params[name]) for name in _POLICY_FIELDS if name in params}
        rest = {name: _from_text(name, params[name]) for name in ("sample", "seed") if name in params}
        if "top_k" not in policy and "first_rank" in policy:
            policy["top_k"] = max(DEFAULT_POLICY.top_k, int(policy["first_rank"]))
        return cls(MiningPolicy(**policy), **rest)  # type: ignore[arg-type]  # each is of its field's type


_POLICY_FIELDS: Final = tuple(field.name for field in fields(MiningPolicy))


def conditions(policy: MiningPolicy) -> list[Condition]:
    """Those of a policy's conditions that leave neighbours out."""
    return [name for name in get_args(Condition) if getattr(policy, name) != getattr(_LOOSEST, name)]


def without(policy: MiningPolicy, condition: Condition) -> MiningPolicy:
    """The same policy without one condition."""
    return replace(policy, **{condition: getattr(_LOOSEST, condition)})


def as_recipe(policy: MiningPolicy) -> str:
    """The lines of a pre-training recipe that ask for it."""
    named = [(field.name, getattr(policy, field.name)) for field in fields(policy)]
    lines = [f"    {name}: {_as_yaml(value)}" for name, value in named]
    return "\n".join(["pairs:", "  positives: neighbours", "  policy:", *lines])


def _as_yaml(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower()


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _from_text(name: str, text: str) -> float | bool:
    try:
        if name in ("other_video", "one_per_video"):
            return _SWITCHES[text]
        return float(text) if name == "max_distance" else int(text)
    except (ValueError, KeyError) as error:
        raise HandsimError(f"the address says {name} = {text[:40]!r}, which cannot be read") from error
