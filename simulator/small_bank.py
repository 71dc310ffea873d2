"""The small bank of `millrace demo`: a few cards whose months go by in minutes, with a past that `fraud` knows them by.

The past goes straight onto the topics, as a bank would load it; from then on each transaction goes through the gateway.
"""

from datetime import datetime, timedelta

from app.bus import Producer
from simulator.badges import Badges
from simulator.bank import PER_CARD_AND_DAY
from simulator.courier import Courier
from simulator.mass import MassLoader
from simulator.pace import paced
from simulator.plan import parted
from simulator.scenario import Options, Scenario

CARDS = 120
"""At twelve transactions a second a day takes 20 s and a fraud is reported after 140 s; some twelve a minute are held. With half
of them, at half the rate, a minute may pass without one."""

PAST_DAYS = 37
"""What `fraud` looks back on at most (`agents._cards`). Without it the first minutes would be spent on getting to know all."""

PAST_S = 20.0
"""How long it takes to send that: a fraud is still reported four seconds later, and not before it is scored."""

_APART = 250  # numbers, from one bank to the next: more than its terminals, of which there are two to a card
_BANKS = 400_000  # then the numbers begin again: ids have eight digits


def options(run: str, now: datetime, rate: float, seed: int = 0) -> Options:
    """A bank of its own for each minute: on an older one's cards the months that are to come have been already."""
    bank = int(now.timestamp() // 60) % _BANKS
    start = now - timedelta(days=PAST_DAYS)
    return Options(run, start, what="transactions", rate=rate, seed=seed, users=CARDS, first=bank * _APART)


async def trade(bank: Options, url: str, badges: Badges, producer: Producer, past_s: float = PAST_S) -> None:
    """Send the past within `past_s`, then the rest without end. Raises `DeliveryFailed` and `NoGateway`."""
    today_s = PAST_DAYS * CARDS * PER_CARD_AND_DAY / (bank.rate or 1.0)
    past, to_come = parted(Scenario(bank).plan(), today_s, past_s)
    await MassLoader(producer).run(paced(past))
    async with Courier(url, badges) as courier:
        await courier.run(paced(to_come))
