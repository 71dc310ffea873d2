"""The zone table that ships with the agents, `agents/_zones.csv`: made from the TLC's zone centroids by `write`."""

from pathlib import Path

import agents
from training.recipe import Job

SHIPPED = Path(next(iter(agents.__path__))) / "_zones.csv"


def table(job: Job) -> str:
    """The centroids as CSV, degrees to 1 m, from `rides/zone_centroids.csv`."""
    import pyarrow.csv  # an optional dependency: only training has it

    centroids = pyarrow.csv.read_csv(job.path("rides/zone_centroids.csv"))
    lines = [
        f"{row['LocationID']},{row['lon']:.5f},{row['lat']:.5f}"
        for row in centroids.select(["LocationID", "lon", "lat"]).to_pylist()
    ]
    return "\n".join(["zone,lon,lat", *lines]) + "\n"


def write(job: Job) -> None:
    """Make the shipped table anew; only when the TLC redraws its zones, and then every ride model is trained again."""
    SHIPPED.write_text(table(job), encoding="utf-8")
