from datetime import timedelta

import msgspec
import numpy as np
import pytest

from agents.fraud import Calibrated, fraud
from app.events import FraudReported
from app.modes import stream
from app.predictions import Charge
from app.registry import Registry, shipped_root
from app.settings import Settings
from app.testing import START, Events
from app.topics import CHARGEBACKS, TRANSACTIONS

MODEL = fraud.load(Registry(shipped_root()).load("fraud"))


def test_a_prediction_says_what_a_decision_needs() -> None:
    made = Events().transaction(amount_usd=12.5, terminal_id="till-7", source="atm")
    (detail,) = fraud.score(MODEL, [made], fraud.state()).details  # type: ignore[misc]  # it has a state
    assert msgspec.convert(detail, Charge) == Charge(12.5, "till-7", "atm")


def test_large_amounts_and_terminals_with_frauds_are_suspected() -> None:
    events, state = Events(users=1), fraud.state()  # type: ignore[misc]  # it has a state
    usual = [events.transaction(amount_usd=20.0 + day, at=START + timedelta(days=day)) for day in range(30)]
    small, large = (
        fraud.score(MODEL, usual, state).values[-1],
        fraud.score(MODEL, [events.transaction(amount_usd=300.0, at=START + timedelta(days=30))], state).values[0],
    )
    reports = [
        FraudReported(
            **{name: getattr(one, name) for name in one.__struct_fields__ if name not in {"at", "event_id"}},
            event_id=f"{one.event_id}.fraud",
            at=one.at + timedelta(days=7),
            made_at=one.at,
        )
        for one in usual[-5:]
    ]
    scores = fraud.score(MODEL, [*reports, events.transaction(at=reports[-1].at, amount_usd=20.0)], state)
    assert np.isnan(scores.values[:-1]).all()
    assert not scores.problems
    assert small < 0.05 < 0.5 < large
    assert scores.values[-1] > 0.5


def test_calibration_keeps_the_order_and_the_range() -> None:
    curve = Calibrated(MODEL._booster, MODEL._said, MODEL._found)
    assert (np.diff(curve._said) > 0).all()
    assert (np.diff(curve._found) > 0).all()
    assert curve._found[[0, -1]].tolist() == [0, 1]


def test_consumes_the_three_sources_and_hears_every_chargeback() -> None:
    assert stream.inputs(fraud) == list(TRANSACTIONS.values())
    assert stream.heard(fraud) == [CHARGEBACKS]


@pytest.mark.parametrize(("setting", "seconds"), [(None, 1.0), (timedelta(0), 0.0), (timedelta(seconds=3), 3.0)])
def test_the_window_is_a_second_unless_the_setting_says_otherwise(setting: timedelta | None, seconds: float) -> None:
    assert stream.window(fraud, Settings.model_construct(within=setting)).total_seconds() == seconds
