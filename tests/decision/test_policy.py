import pytest

from app.decisions import Figure
from decision.policy import CONFIRM_AT, EXPECTED, RULES, judge

UPLOAD = EXPECTED["upload"]


def figures(unit: str = "probability", **values: float) -> dict[str, Figure]:
    return {model: Figure(model=model, version="1", value=value, unit=unit) for model, value in values.items()}


def clean(**values: float) -> dict[str, Figure]:
    return figures(**{**dict.fromkeys(UPLOAD, 0.01), **values})


def test_a_ride_is_quoted_in_words() -> None:
    verdict = judge("ride", figures(eta=11.0, duration=14.2, cost=18.5, tip=3.1, cancellation=0.05))
    assert verdict == ("quote", ("about 14 min, $18.50, tip about $3.10",))


def test_a_tip_of_nothing_is_not_told() -> None:
    verdict = judge("ride", figures(eta=11.0, duration=14.2, cost=18.5, tip=0.004, cancellation=0.05))
    assert verdict.reasons == ("about 14 min, $18.50",)


def test_the_eta_stands_in_for_a_missing_duration() -> None:
    verdict = judge("ride", figures(eta=11.0, cost=18.5, tip=3.0, cancellation=0.05))
    assert verdict.reasons == ("about 11 min, $18.50, tip about $3.00", "duration has not answered yet")


def test_a_ride_that_may_be_cancelled_is_confirmed_and_says_so_first() -> None:
    verdict = judge("ride", figures(eta=11.0, duration=14.2, cost=18.5, tip=3.0, cancellation=CONFIRM_AT))
    assert verdict.action == "confirm"
    assert verdict.reasons[0] == f"cancellation risk {CONFIRM_AT:.0%}: ask the rider to confirm first"
    below = judge("ride", figures(eta=11.0, duration=14.2, cost=18.5, tip=3.0, cancellation=CONFIRM_AT - 0.001))
    assert below.action == "quote"


def test_a_ride_nobody_answered_for_is_still_quoted() -> None:
    verdict = judge("ride", {})
    assert (verdict.action, verdict.reasons[0], len(verdict.reasons)) == ("quote", "no figures yet", 6)


def test_a_clean_upload_is_kept_and_says_what_was_checked() -> None:
    verdict = judge("upload", clean())
    assert verdict.action == "keep"
    assert all(model in verdict.reasons[0] for model in UPLOAD)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.model)
def test_each_threshold_is_inclusive(rule: object) -> None:
    from decision.policy import Rule

    assert isinstance(rule, Rule)
    assert judge("upload", clean(**{rule.model: rule.review_at - 0.001})).action == "keep"
    assert judge("upload", clean(**{rule.model: rule.review_at})).action == "review"
    assert judge("upload", clean(**{rule.model: 1.0})).action == ("review" if rule.remove_at is None else "remove")


@pytest.mark.parametrize("silent", UPLOAD)
def test_an_upload_is_not_kept_while_a_model_is_missing(silent: str) -> None:
    seen = clean()
    del seen[silent]
    verdict = judge("upload", seen)
    assert verdict == ("review", (f"{silent} has not answered: a person must look",))


def test_a_missing_model_does_not_hold_up_a_removal_and_the_gravest_reason_is_first() -> None:
    seen = clean(toxicity=0.7, hate=0.99)
    del seen["spam"]
    verdict = judge("upload", seen)
    assert verdict.action == "remove"
    assert [reason.split(" (")[0] for reason in verdict.reasons] == [
        "reads as hate speech",
        "may be toxic",
        "spam has not answered: a person must look",
    ]


def test_a_copy_names_what_it_repeats() -> None:
    seen = clean()
    seen["duplicate"] = Figure(model="duplicate", version="1", value=0.97, unit="similarity", detail={"of": "v-1"})
    assert "(v-1)" in judge("upload", seen).reasons[0]
