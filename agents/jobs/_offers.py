"""Which customer gets which offer, and why: a small pure policy with its costs stated.

What an offer does to a customer is not in any data set we have: `uplift` and `margin` are assumptions for a marketing team to
replace by its own. So that they can be measured, one customer in ten is kept as a control group and gets nothing.
"""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

MARGIN = 0.3
"""What is earned of each dollar sold; an assumption, usual in retail trade."""

LEAST_GAIN_USD = 0.25
"""Below this an offer is not sent: whoever is written to often reads nothing; an assumption."""

CONTROL_SHARE = 0.1
CONTROL = "control"


@dataclass(frozen=True)
class Offer:
    """Something a customer may be sent.

    Attributes:
        contact_usd: what sending it costs, whatever comes of it.
        gift_usd: what the customer may take off one order; costs as much whenever they order, also had they come anyway.
        uplift: by how much of those who would have left fewer leave; an assumption.
    """

    name: str
    contact_usd: float
    gift_usd: float
    uplift: float


OFFERS = (
    Offer("reminder by e-mail", 0.02, 0.0, 0.01),
    Offer("free shipping", 0.02, 3.0, 0.06),
    Offer("voucher of $10", 0.50, 10.0, 0.15),  # on a card, by post
)


class Choice(NamedTuple):
    """What a customer gets. Money is dollars expected over the next 90 days.

    Attributes:
        cost_usd: contact and gift.
        gain_usd: margin kept, less the cost; of the control group, what it would be.
    """

    offer: str
    cost_usd: float
    gain_usd: float
    because: str


def choose(customer: str, risk: float, worth_usd: float) -> Choice | None:
    """The offer with the greatest expected gain, or none where none gains `LEAST_GAIN_USD`.

    Args:
        customer: whose id says whether they are in the control group: the same ones each time.
        risk: the probability that they leave.
        worth_usd: what they are expected to spend if they stay.

    Example:
        >>> choose("c1", risk=0.9, worth_usd=400.0).offer
        'voucher of $10'
        >>> choose("c1", risk=0.1, worth_usd=20.0) is None
        True
    """
    best = max((_weigh(offer, risk, worth_usd) for offer in OFFERS), key=lambda choice: choice.gain_usd)
    if best.gain_usd < LEAST_GAIN_USD:
        return None
    if in_control(customer):
        return best._replace(offer=CONTROL, cost_usd=0.0, because=f"kept without an offer, to compare ({best.offer})")
    return best


def in_control(customer: str) -> bool:
    """Whether the customer is one of the tenth that gets no offer, drawn by the id alone."""
    drawn = int.from_bytes(hashlib.sha256(customer.encode()).digest()[:8]) / 2**64
    return drawn < CONTROL_SHARE


def _weigh(offer: Offer, risk: float, worth_usd: float) -> Choice:
    """Kept: those who stay because of it. Given away: the gift to these, and to those who would have stayed anyway."""
    kept = risk * offer.uplift
    cost = offer.contact_usd + offer.gift_usd * (1 - risk + kept)
    gain = kept * worth_usd * MARGIN - cost
    because = (
        f"{risk:.0%} likely to leave, worth ${worth_usd:.0f} in 90 days if they stay: keeps {kept:.1%} of them, "
        f"${kept * worth_usd * MARGIN:.2f} of margin for ${cost:.2f}"
    )
    return Choice(offer.name, cost, gain, because)
