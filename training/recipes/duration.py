"""Recipe of `duration`: before the ride from NYC trips, while it runs from Chengdu's trajectories."""

from agents._enroute import RAW
from agents._trip import COLUMNS, trip
from training.boost import mae, rmse, text
from training.data.tlc import Trips
from training.recipe import Job, Metric, Trained, recipe
from training.recipes import _enroute, _trips
from training.recipes._trips import TREES, Floats, Task

# A batch is scored at 6 µs a ride; 500 trees at rate 0.03 take 45 µs and win 0.7 % (both are measured below).
ROUNDS, RATE = 120, 0.12
FULL_ROUNDS, FULL_RATE = 500, 0.03
PATH_UNKNOWN = (
    "The correction is told where the drop-off lies, not how long the way there will be. The reference knows which share "
    "of its path the car has driven, as a route planner would: the rows *path length told* compare like with like."
)


def _minutes(trips: Trips) -> Floats:
    return trips.duration_min


def _task(rate: float) -> Task:
    return Task(
        target=_minutes,
        features=lambda trips: trip(trips.requests()),
        choice=lambda trips: trips.duration_min > 0,
        parameters={**TREES, "objective": "l2", "learning_rate": rate},
    )


@recipe("duration", data=(*_trips.FILES, _enroute.FILE), licence=f"{_trips.LICENCE}\n\n{_enroute.LICENCE}")
def train(job: Job) -> Trained:
    """The squared error is minimised, for a reference counts it; the absolute one comes out below its reference too."""
    task = _task(RATE)
    booster, rows = _trips.served(job, task, ROUNDS)
    throwaway = _trips.throwaway(job, task, ROUNDS)
    enroute, corrections = _enroute.train(job)
    figures = {"RMSE, min": (rmse, 4.98, 6.03), "MAE, min": (mae, 3.29, 4.07)}
    return Trained(
        files={"model.txt": text(booster), "enroute.txt": text(enroute)},
        metrics=[*_trips.metrics(job, task, booster, throwaway, figures), *_full(job, figures), *corrections],
        rows=rows,
        split=f"{_trips.SPLIT} The correction: 1,400 trips of Chengdu, folded by driver.",
        about=(
            "How long a ride takes from its start to its end, minutes. Said before it begins from zones and time; "
            "while the car moves, corrected at each position: the time gone by, and what remains as a share of the "
            "first estimate, judged by how the way goes (no street map, no live traffic)."
        ),
        limits=(
            "Learned from green taxis, which mostly serve uptown Manhattan and the other boroughs.",
            "It knows the clock and the calendar, not weather, strikes or closed bridges.",
            "Rides under 1 or over 60 minutes were not in the training data: long ones are underestimated.",
            PATH_UNKNOWN,
            "The correction was learned in Chengdu; in ratios, so that it carries over, but not measured in New York.",
            _trips.OUTSIDE,
        ),
        features=(*COLUMNS, *RAW),
    )


def _full(job: Job, figures: _trips.Figures) -> list[Metric]:
    """What many small steps would reach on the reference's split: the price of the smaller model, in the open."""
    task = _task(FULL_RATE)
    booster = _trips.throwaway(job, task, FULL_ROUNDS)
    return _trips.on_reference(job, task, booster, figures, f", {FULL_ROUNDS} trees")
