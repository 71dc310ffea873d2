"""Why a customer has the score they have, in words a marketing team reads. Pure.

Contributions (log-odds, tree SHAP) add up, so those of columns that say the same thing are summed: "silence" is one reason, not
three.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from agents.jobs._history import COLUMNS
from app.jobs.job import Floats

TOP = 3
_SELDOM_DAYS = 3  # on fewer purchase days a customer has no rhythm to speak of


class Reason(NamedTuple):
    """One sentence; `log_odds` is positive where it makes leaving likelier."""

    words: str
    log_odds: float


class _Topic(NamedTuple):
    columns: tuple[str, ...]
    words: Callable[[Mapping[str, float], float], str]


def reasons(features: Floats, contributions: Floats) -> list[Reason]:
    """The strongest reasons of one customer, (d,) and (d,), at most `TOP`, the strongest first."""
    seen = dict(zip(COLUMNS, features.tolist(), strict=True))
    added = dict(zip(COLUMNS, contributions.tolist(), strict=True))
    weighed = [(sum(added[column] for column in topic.columns), topic) for topic in _TOPICS]
    weighed.sort(key=lambda pair: -abs(pair[0]))
    return [Reason(topic.words(seen, weight), weight) for weight, topic in weighed[:TOP]]


def _silence(seen: Mapping[str, float], weight: float) -> str:
    days = seen["silent_days"]
    said = f"nothing bought for {days:.0f} days" if weight > 0 else f"bought {days:.0f} days ago"
    if seen["purchase_days"] < _SELDOM_DAYS:
        return said
    return f"{said}, {seen['silence_ratio']:.1f} times the usual gap of {seen['mean_gap_days']:.0f} days"


def _frequency(seen: Mapping[str, float], _: float) -> str:
    days = seen["purchase_days"]
    return "bought on one day only" if days == 1 else f"bought on {days:.0f} days"


def _activity(seen: Mapping[str, float], weight: float) -> str:
    if weight > 0:
        return "bought less of late than at their own pace" if seen["trend"] < 1 else "bought little of late"
    return (
        "bought more of late than at their own pace" if seen["trend"] > 1 else "bought a fair amount in recent months"
    )


def _spend(seen: Mapping[str, float], _: float) -> str:
    return f"spent ${seen['spend_usd']:,.0f} in all, ${seen['usd_per_day'] * 30:,.0f} a month"


def _basket(seen: Mapping[str, float], _: float) -> str:
    items = seen["items"]
    return "bought one item in all" if items == 1 else f"bought {items:,.0f} items in all"


_TOPICS: Sequence[_Topic] = (
    _Topic(("silent_days", "silence_ratio", "silence_share"), _silence),
    _Topic(("purchase_days", "mean_gap_days"), _frequency),
    _Topic(("activity", "trend"), _activity),
    _Topic(("spend_usd", "usd_per_day"), _spend),
    _Topic(("items",), _basket),
)
