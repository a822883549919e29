"""A mining policy and the sample that it is tried on: as a value, in the page's address, and as controls."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Literal, get_args
from urllib.parse import parse_qsl, urlencode

import streamlit as st
import yaml

from apps.browser import session
from handsim.errors import HandsimError
from index import MiningPolicy
from index.mining import DEFAULT_POLICY

SAMPLES: Final = (500, 2_000, 10_000)
"""Hands that a policy can be tried on."""
MOST_RANKS: Final = 32
"""The last rank that can be looked at."""
_LAST_SEED: Final = 9_999

Condition = Literal[
    "other_video", "one_per_video", "first_rank", "max_distance", "min_distance", "keep_duplicates"
]
"""The parts of a policy that leave neighbours out."""
CONDITIONS: Final[dict[Condition, str]] = {
    "other_video": "other videos only",
    "one_per_video": "one per video",
    "first_rank": "the first rank",
    "max_distance": "the distance limit",
    "min_distance": "the least distance",
    "keep_duplicates": "no duplicates",
}
"""Their names, for people."""
_LOOSEST: Final = MiningPolicy(other_video=False, min_distance=0.0, keep_duplicates=True)
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
        return replace(self, policy=policy)

    def of_other_hands(self) -> "MiningTrial":
        return replace(self, seed=(self.seed + 1) % (_LAST_SEED + 1))

    @classmethod
    def names(cls) -> list[str]:
        """The parameters that an address may have."""
        return [*_POLICY_FIELDS, "sample", "seed"]

    def as_params(self) -> dict[str, str]:
        """The parameters of the address: only what differs from the defaults."""
        default, params = MiningTrial(), {}
        for part, usual in ((self, default), (self.policy, default.policy)):
            for field in fields(part):
                value = getattr(part, field.name)
                if field.name != "policy" and value != getattr(usual, field.name):
                    params[field.name] = _as_text(value)
        return params

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> tuple["MiningTrial", list[str]]:
        """Read what `as_params` wrote; other names are ignored.

        Also a sentence for each value that is out of bounds and was limited, or could not be used at all.
        """
        trial, notes = cls(), []
        for name in cls.names():
            if name not in params:
                continue
            try:
                asked = _from_text(name, params[name])
                value = _BOUNDS[name](asked) if name in _BOUNDS else asked
                if name in _BOUNDS and value != asked:
                    notes.append(f"{name} is {asked} in the address; {value} is taken.")
                trial = trial.with_value(name, value)
            except HandsimError as error:
                notes.append(f"{error}. The address's {name} is left out.")
        return trial, notes

    def with_value(self, name: str, value: float | bool) -> "MiningTrial":
        """The trial with another value of one parameter of the address; a first rank moves the last one."""
        changes: dict[str, Any] = {name: value}
        if name in ("sample", "seed"):
            return replace(self, **changes)
        if name == "first_rank":
            changes["top_k"] = max(self.policy.top_k, int(value))
        return replace(self, policy=replace(self.policy, **changes))


_BOUNDS: Final[dict[str, Callable[[float], float]]] = {
    "sample": lambda asked: min(SAMPLES, key=lambda sample: abs(sample - asked)),
    "seed": lambda asked: min(max(asked, 0), _LAST_SEED),
    "top_k": lambda asked: min(max(asked, 1), MOST_RANKS),
    "first_rank": lambda asked: min(max(asked, 1), MOST_RANKS),
}
"""Parameter -> the nearest value that may be taken."""
_POLICY_FIELDS: Final = tuple(field.name for field in fields(MiningPolicy))


def conditions(policy: MiningPolicy) -> list[Condition]:
    """The conditions of a policy that leave neighbours out."""
    return [name for name in get_args(Condition) if getattr(policy, name) != getattr(_LOOSEST, name)]


def without(policy: MiningPolicy, condition: Condition) -> MiningPolicy:
    return replace(policy, **{condition: getattr(_LOOSEST, condition)})


def as_recipe(policy: MiningPolicy) -> str:
    """The lines of a pre-training recipe that ask for it."""
    pairs = {"positives": "neighbours", "policy": asdict(policy)}
    return yaml.safe_dump({"pairs": pairs}, sort_keys=False)


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _from_text(name: str, text: str) -> float | bool:
    try:
        if name in ("other_video", "one_per_video", "keep_duplicates"):
            return _SWITCHES[text]
        return float(text) if name in ("max_distance", "max_quantile", "min_distance") else int(text)
    except (ValueError, KeyError) as error:
        raise HandsimError(f"{name} = {text[:40]!r} cannot be read") from error


_KEY: Final = "mining_"
_BEFORE: Final = "mining_policy_before"
_AGAINST: Final = "against"
"""Of the address: the other policy, as it would stand there itself; absent: the default one."""
_DEFAULT: Final = "default"
Against = Literal["default", "before"]
POLICIES: Final[dict[Against, str]] = {"default": "default policy", "before": "policy before"}
"""What a trial's policy is compared with, for people."""
_FIRST_CAP: Final = 0.5
"""The largest distance that is offered first, where nothing is known of the sample's."""


def read_trial() -> MiningTrial:
    """The trial in the page's address, without what cannot be used of it (`read_notes`)."""
    return MiningTrial.from_params(st.query_params.to_dict())[0]


def read_notes() -> list[str]:
    """A sentence for each value in the address that was limited or left out."""
    params = st.query_params.to_dict()
    notes = MiningTrial.from_params(params)[1]
    if _AGAINST in params:
        other, of_other = _parse_policy(params[_AGAINST])
        notes += [f"Of the policy to compare with: {note}" for note in of_other]
        if other is None:
            notes.append(
                f"{_AGAINST} = {params[_AGAINST][:40]!r} in the address cannot be read, and is left out."
            )
    return notes


def ask(trial: MiningTrial) -> None:
    """Put a trial into the page's address, and remember the policy before it."""
    before, params = read_trial().policy, trial.as_params()
    if before != trial.policy:
        st.session_state[_BEFORE] = before
    if _AGAINST in st.query_params:
        params[_AGAINST] = _format_policy(st.session_state.get(_BEFORE, trial.policy))
    session.write_params([*MiningTrial.names(), _AGAINST], params)


def find_other_policy(trial: MiningTrial) -> tuple[MiningPolicy | None, Against]:
    """The policy that the address compares with, None where it is the trial's own; and which one it is."""
    before = _parse_policy(st.query_params.get(_AGAINST, ""))[0]
    other = DEFAULT_POLICY if before is None else before
    return (None if other == trial.policy else other), "default" if before is None else "before"


def _format_policy(policy: MiningPolicy) -> str:
    return urlencode(MiningTrial(policy).as_params()) or _DEFAULT


def _parse_policy(text: str) -> tuple[MiningPolicy | None, list[str]]:
    """What `_format_policy` wrote, with notes as of `MiningTrial.from_params`; None if it is none."""
    if text == _DEFAULT:
        return DEFAULT_POLICY, []
    params = {name: value for name, value in parse_qsl(text) if name in _POLICY_FIELDS}
    trial, notes = MiningTrial.from_params(params)
    return (trial.policy if params else None), notes


def controls(trial: MiningTrial, hands: int, quantiles: tuple[float, float] | None) -> None:
    """Draw the controls; a change is in the address before the page is drawn again.

    ``hands`` are those of the pool; ``quantiles`` are the embedding distances within which half of the pairs
    lie, and 95 of 100, if known.
    """
    _set_widgets(trial, quantiles)
    _draw_policy(trial, quantiles)
    _draw_sample(trial, hands)
    with st.expander("Settings for training", icon=":material/description:"):
        st.caption("What a recipe of `handsim pretrain` says to mine like this.")
        st.code(as_recipe(trial.policy), language="yaml")


def _bind(name: str) -> dict[str, Any]:
    return {"key": _KEY + name, "on_change": _changed}


def _draw_policy(trial: MiningTrial, quantiles: tuple[float, float] | None) -> None:
    policy = trial.policy
    st.slider(
        "Ranks, first to Top-K",
        1,
        MOST_RANKS,
        (policy.first_rank, policy.top_k),
        **_bind("ranks"),
        help="Which of a hand's nearest are its matches; pre-training draws one of them each time. "
        "1 to 1 is the nearest alone, as in the paper; a first rank above 1 leaves the nearest out",
    )
    st.toggle(
        "Other videos only",
        policy.other_video,
        **_bind("other_video"),
        help="Never a hand of the query hand's own video: its next frame is alike, but teaches nothing",
    )
    st.toggle(
        "One per video",
        policy.one_per_video,
        **_bind("one_per_video"),
        help="Count ranks over videos, each represented by its nearest hand; matters from Top-2 on",
    )
    st.toggle(
        "Limit the distance",
        policy.max_distance is not None,
        **_bind("capped"),
        help="Leave out what is further away than the limit; a hand may be left without a match",
    )
    if policy.max_distance is not None:
        st.number_input(
            "Largest distance",
            0.0,
            value=policy.max_distance,
            step=0.05,
            format="%.3f",
            **_bind("max_distance"),
            help="Euclidean, in the index's embedding",
        )
        if quantiles is not None:
            half, most = quantiles
            st.caption(f"Under it half of the pairs lie within {half:.3f}, 95 of 100 within {most:.3f}.")

    st.number_input(
        "Least distance",
        0.0,
        value=policy.min_distance,
        step=0.001,
        format="%.3f",
        **_bind("min_distance"),
        help="Leave out what is nearer: the same picture under another name",
    )
    st.toggle(
        "Leave duplicates out",
        not policy.keep_duplicates,
        **_bind("no_duplicates"),
        help="Never a hand that `handsim pool duplicates` found to be a duplicate of the query hand",
    )


def _draw_sample(trial: MiningTrial, hands: int) -> None:
    offered = [count for count in SAMPLES if count < hands]
    if len(offered) < len(SAMPLES):  # the next one is all hands
        offered.append(trial.sample if trial.sample >= hands else SAMPLES[len(offered)])
    st.segmented_control(
        "Hands to try it on",
        offered,
        default=trial.sample,
        required=True,
        format_func=lambda count: f"{count:,}" if count < hands else f"all {hands:,}",
        **_bind("sample"),
        help="A random sample of the pool, the same one for every policy; more are surer and slower",
    )
    session.set_widget(_KEY + _AGAINST, find_other_policy(trial)[1])
    st.segmented_control(
        "Compare with",
        list(POLICIES),
        default=find_other_policy(trial)[1],
        required=True,
        format_func=lambda against: POLICIES[against].capitalize(),
        key=_KEY + _AGAINST,
        on_change=_take_against,
        help="Whose figures stand beside this policy's, of the same hands",
    )
    if find_other_policy(trial)[0] is None:
        st.caption("That is this very policy; change it, and its figures stand beside the other's.")
    st.button(
        "Other hands",
        icon=":material/refresh:",
        on_click=ask,
        args=(trial.of_other_hands(),),
        width="stretch",
        help="The same policy on another random sample",
    )
    st.button(
        "Back to the default",
        icon=":material/restart_alt:",
        on_click=ask,
        args=(trial.with_policy(DEFAULT_POLICY),),
        disabled=trial.policy == DEFAULT_POLICY,
        width="stretch",
        help="The nearest hand of another video, as in the paper",
    )


def _take_against() -> None:
    """Put the policy to compare with into the address: the one before, as a link must hold it."""
    before = st.session_state.get(_BEFORE, read_trial().policy)
    is_before = st.session_state[_KEY + _AGAINST] == "before"
    session.write_params([_AGAINST], {_AGAINST: _format_policy(before)} if is_before else {})


def _set_widgets(trial: MiningTrial, quantiles: tuple[float, float] | None) -> None:
    policy = trial.policy
    likely_cap = _FIRST_CAP if quantiles is None else round(quantiles[1], 3)
    values = {
        "ranks": (policy.first_rank, policy.top_k),
        "other_video": policy.other_video,
        "one_per_video": policy.one_per_video,
        "capped": policy.max_distance is not None,
        "max_distance": likely_cap if policy.max_distance is None else policy.max_distance,
        "min_distance": policy.min_distance,
        "no_duplicates": not policy.keep_duplicates,
        "sample": trial.sample,
    }
    for name, value in values.items():
        session.set_widget(_KEY + name, value)


def _changed() -> None:
    """Put the values of the controls into the address."""
    state = st.session_state
    first, last = state[_KEY + "ranks"]
    try:
        policy = MiningPolicy(
            first_rank=first,
            top_k=last,
            other_video=state[_KEY + "other_video"],
            one_per_video=state[_KEY + "one_per_video"],
            max_distance=state[_KEY + "max_distance"] if state[_KEY + "capped"] else None,
            min_distance=state[_KEY + "min_distance"],
            keep_duplicates=not state[_KEY + "no_duplicates"],
        )
        trial = replace(read_trial(), policy=policy, sample=state[_KEY + "sample"])
    except HandsimError:
        return  # a control that cannot be set so
    ask(trial)
