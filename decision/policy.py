"""The policy: what is done about a subject, given what the models say of it. Pure; `decision.join` calls it.

Everything that could be argued about is data at the top, with its reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from app.decisions import Action, Figure
from app.events import Kind

EXPECTED: Mapping[Kind, tuple[str, ...]] = {
    "ride": ("eta", "duration", "tip", "cost", "cancellation"),
    "upload": ("toxicity", "hate", "spam", "duplicate"),
    "transaction": (),
}
"""Who is waited for, in the order their figures are listed. Anybody else's figure is passed on as it comes."""

CONFIRM_AT = 0.35
"""A ride with this risk of being cancelled is confirmed by the rider before a driver is sent: seven times the base rate of the
model's data (5.2 %). There 79 of 7,000 bookings reach it, of which 43 in 100 came to nothing (out of fold, five folds). Asking
delays the car of those who do come, so few are asked: 1 in 200 of the made-up rides, more on a weekend's evening."""

A_CENT = 0.005
"""What is less is told as nothing, which a tip of no dollars is not worth saying."""


@dataclass(frozen=True)
class Rule:
    """When one content model's figure calls for a person, or for removal at once.

    Attributes:
        review_at, remove_at: in the model's unit, inclusive; `None`: never on this model's word alone.
        claim: what the figure says of the upload when it is removed, with `{value}` as a percentage.
        doubt: the same of one that a person has to look at: 30 % is no claim.
    """

    model: str
    review_at: float
    remove_at: float | None
    claim: str
    doubt: str


# A removal needs near certainty, a review only a doubt: a wrong review costs a minute of a person's time, a wrong
# removal silences somebody. P is precision, R recall, out of fold, every source counting the same; "real" is the share
# of real uploads, of channels the model had not seen, that reach the threshold. They are those of the model cards
# (agents/models/*/1/card.md) where the card has the threshold, else reckoned as the card's are (training/recipes).
# Together they send at most 4 of 100 real uploads to a person, and remove at most 3 of 1,000.
RULES = (
    Rule(
        "toxicity",
        review_at=0.494,  # the card's: P .851, R .800, real 1.65 %
        remove_at=0.95,  # P .973, R .483, real 0.04 %; the card's .633 is wrong one time in ten (P .900, real 0.72 %)
        claim="reads as toxic ({value})",
        doubt="may be toxic ({value})",
    ),
    Rule(
        "hate",
        review_at=0.20,  # P .620, R .559, real 0.38 %; the card's .116 is wrong every other time (P .537, real 2.03 %)
        remove_at=0.897,  # the card's: P .920, R .043, real 0.00 %
        claim="reads as hate speech ({value})",
        doubt="may be hate speech ({value})",
    ),
    Rule(
        "spam",
        review_at=0.30,  # P .961, R .944, real 0.59 %; the card's .16 finds 1 % more of the spam in thrice as many (2.03 %)
        remove_at=0.971,  # the card's: P .989, R .800, real 0.04 %
        claim="looks like spam ({value})",
        doubt="may be spam ({value})",
    ),
    Rule(
        "duplicate",
        review_at=0.70,  # the card's: P .976, R .863, real 0.59 %
        remove_at=0.95,  # the card's: P .992, R .702, real 0.21 %
        claim="repeats an earlier upload of somebody else{of} ({value} alike)",
        doubt="resembles an earlier upload of somebody else{of} ({value} alike)",
    ),
)


class Verdict(NamedTuple):
    """What to do, and why: sentences a person can read, the decisive one first."""

    action: Action
    reasons: tuple[str, ...]


def judge(kind: Kind, figures: Mapping[str, Figure]) -> Verdict:
    """The verdict on a subject, by model name; a model that is expected but absent has not answered.

    Example:
        >>> judge("ride", {"duration": Figure(model="duration", version="1", value=14.2, unit="min")}).reasons[0]
        'about 14 min'
    """
    missing = [model for model in EXPECTED[kind] if model not in figures]
    return _judge_upload(figures, missing) if kind == "upload" else _judge_ride(figures, missing)


def _judge_ride(figures: Mapping[str, Figure], missing: list[str]) -> Verdict:
    reasons = [", ".join(_quote(figures)) or "no figures yet"]
    risk = figures.get("cancellation")
    confirm = risk is not None and risk.value >= CONFIRM_AT
    if risk is not None and confirm:
        reasons.insert(0, f"cancellation risk {risk.value:.0%}: ask the rider to confirm first")
    reasons += [f"{model} has not answered yet" for model in missing]
    return Verdict("confirm" if confirm else "quote", tuple(reasons))


def _quote(figures: Mapping[str, Figure]) -> Iterator[str]:
    """The figures a rider sees; `eta` stands in where the accurate duration is not there."""
    if duration := figures.get("duration") or figures.get("eta"):
        yield f"about {max(duration.value, 1):.0f} min"
    if cost := figures.get("cost"):
        yield f"${cost.value:.2f}"
    if (tip := figures.get("tip")) and tip.value >= A_CENT:  # of those who pay in cash none is known
        yield f"tip about ${tip.value:.2f}"


def _judge_upload(figures: Mapping[str, Figure], missing: list[str]) -> Verdict:
    """The gravest finding decides. A model that has not answered may have found something: a person looks."""
    found = [(rule, figures[rule.model]) for rule in RULES if rule.model in figures]
    remove = [(rule, figure) for rule, figure in found if _reaches(figure, rule.remove_at)]
    review = [pair for pair in found if _reaches(pair[1], pair[0].review_at) and pair not in remove]
    reasons = [_told(rule.claim, figure) for rule, figure in sorted(remove, key=_gravest_first)]
    reasons += [_told(rule.doubt, figure) for rule, figure in sorted(review, key=_gravest_first)]
    reasons += [f"{model} has not answered: a person must look" for model in missing]
    if remove:
        return Verdict("remove", tuple(reasons))
    if reasons:
        return Verdict("review", tuple(reasons))
    checked = ", ".join(f"{rule.model} {figure.value:.0%}" for rule, figure in found)
    return Verdict("keep", (f"below every threshold: {checked}",))


def _reaches(figure: Figure, threshold: float | None) -> bool:
    return threshold is not None and figure.value >= threshold


def _gravest_first(pair: tuple[Rule, Figure]) -> float:
    """How far from certain: the share of the way from the review threshold to 1 that is left."""
    rule, figure = pair
    return (1 - figure.value) / (1 - rule.review_at)


def _told(words: str, figure: Figure) -> str:
    of = (figure.detail or {}).get("of")
    return words.format(value=f"{figure.value:.0%}", of=f" ({of})" if isinstance(of, str) else "")
