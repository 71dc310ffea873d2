"""The handbook's model: who pays whom how much, which of it is fraud, and when."""

import numpy as np
import pytest

from simulator.bank import DAY_S, SOURCES, Bank, Drawn


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return Bank(2_000, seed=7).draw(np.linspace(0, 60, 200_000, endpoint=False), np.random.default_rng(7))


def test_the_same_seed_draws_the_same_transactions() -> None:
    days = np.linspace(0, 3, 500)
    one, two = (Bank(100, seed=3).draw(days, np.random.default_rng(5)) for _ in range(2))
    other = Bank(100, seed=4).draw(days, np.random.default_rng(5))
    assert (one.card == two.card).all()
    assert (one.cents == two.cents).all()
    assert not (one.terminal == other.terminal).all()


def test_frauds_are_as_rare_as_in_the_handbook_and_of_all_three_scenarios(drawn: Drawn) -> None:
    """The handbook's data set: 0.84 %, of which 0.06, 0.52 and 0.27 % are of scenarios 1, 2 and 3."""
    shares = np.bincount(drawn.scenario, minlength=4) / len(drawn)
    assert 0.004 < 1 - shares[0] < 0.016
    assert shares[2] > shares[3] > shares[1] > 0


def test_a_large_amount_is_always_a_fraud_and_a_stolen_card_pays_more(drawn: Drawn) -> None:
    assert drawn.cents[drawn.scenario == 0].max() <= 22_000
    assert drawn.cents[drawn.scenario == 1].min() > 22_000
    stolen, honest = drawn.cents[drawn.scenario == 3], drawn.cents[drawn.scenario == 0]
    assert stolen.mean() > 3 * honest.mean()


def test_at_an_abused_terminal_everything_is_a_fraud_for_four_weeks_at_most(drawn: Drawn) -> None:
    terminal = np.bincount(drawn.terminal[drawn.scenario == 2]).argmax()
    there = drawn.where(drawn.terminal == terminal)
    abused = there.day[there.scenario == 2]
    while_abused = there.where((there.day >= abused.min()) & (there.day <= min(abused.max(), abused.min() + 28)))
    assert (while_abused.scenario > 0).all()
    assert (there.scenario == 0).any()


def test_everybody_shops_nearby(drawn: Drawn) -> None:
    """A customer sees a few dozen of the terminals, however often they pay."""
    often = np.bincount(drawn.card).argmax()
    assert 1 < len(np.unique(drawn.terminal[drawn.card == often])) <= 64


def test_most_of_a_day_is_around_noon_and_time_never_goes_back() -> None:
    day = np.linspace(0, 2, 20_000, endpoint=False)
    seconds = Bank(10).seconds(day)
    assert (np.diff(seconds) > 0).all()
    assert seconds[0] == 0
    assert seconds[-1] < 2 * DAY_S
    hour = seconds % DAY_S / 3600
    assert ((hour > 6) & (hour < 18)).mean() == pytest.approx(0.743, abs=0.002)  # of N(12 h, 20,000 s) cut to a day


def test_hands_dealt_to_several_processes_share_no_card_and_leave_none_out() -> None:
    bank, days = Bank(30, seed=1), np.linspace(0, 1, 2000)
    hands = [set(bank.dealt(k, 3).draw(days, np.random.default_rng(k)).card.tolist()) for k in range(3)]
    assert sorted(card for hand in hands for card in hand) == sorted(set().union(*hands))
    assert all(card % 3 == k for k, hand in enumerate(hands) for card in hand)


def test_every_kind_of_terminal_is_used(drawn: Drawn) -> None:
    source = Bank(2_000, seed=7).source[drawn.terminal]
    shares = np.bincount(source, minlength=len(SOURCES)) / len(drawn)
    assert shares == pytest.approx([0.15, 0.25, 0.60], abs=0.05)
