"""Recipe of `cancellation`: which bookings come to nothing."""

import numpy as np
from sklearn.metrics import roc_auc_score

from agents.cancellation import COLUMNS, cancellation
from training.boost import fit, text
from training.data import yourcabs
from training.recipe import Job, Metric, Trained, recipe

FILE = "cancellation/yourcabs_2013.csv"
LATEST = 0.3  # the last 30 % by time are the test (the split of the reference)
ROUNDS = 120
# Few positives (5 %): small trees, much smoothing. Hours and lead matter by range, so coarse bins.
PARAMETERS = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 8,
    "min_data_in_leaf": 60,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "feature_fraction": 0.6,
    "lambda_l2": 20,
    "max_bin": 63,
}
_CHANNEL = COLUMNS.index("channel")


@recipe(
    "cancellation",
    data=(FILE,),
    licence="YourCabs bookings, from the R package dmba (MIT).",
)
def train(job: Job) -> Trained:
    """Measured on the latest bookings; served as trained on the whole set, for the latest are the nearest to now."""
    bookings = yourcabs.read(job.path(FILE))
    features, truth = cancellation.features(bookings.requests), bookings.cancelled
    cut = round(len(truth) * (1 - LATEST))
    past = np.arange(cut)[np.random.default_rng(job.seed).random(cut) < job.sample]
    job.progress("measuring", 0.0)
    early = fit(features[past], truth[past].astype(float), PARAMETERS, rounds=ROUNDS, seed=job.seed)
    late = roc_auc_score(truth[cut:], early.predict(features[cut:]))
    channel = np.array([truth[past][features[past, _CHANNEL] == code].mean() for code in range(3)])
    rule = roc_auc_score(truth[cut:], channel[features[cut:, _CHANNEL].astype(int)])
    job.progress("training", 0.5)
    booster = fit(features, truth.astype(float), PARAMETERS, rounds=ROUNDS, seed=job.seed)
    split = f"yourcabs, first {1 - LATEST:.0%} by time → last {LATEST:.0%}"
    return Trained(
        files={"model.txt": text(booster)},
        metrics=[
            Metric("ROC AUC", split, float(late), float(rule), "share by channel", 0.757, True, served=False),
        ],
        rows=len(truth),
        split="By booking time; the served model then learned from the whole set with the same settings.",
        about="The probability that a booked ride is cancelled, from when and how it was booked and for when.",
        limits=(
            "One company in one city (Bangalore, 2013), 361 cancellations in all: a weak signal, far from New York.",
            "There, most cancellations were for want of a car; the data does not say who cancelled.",
            "It knows nothing of the rider; rides hailed in the street were not in the data.",
        ),
        features=COLUMNS,
    )
