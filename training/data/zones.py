"""The zone table that ships with the agents: made once from the TLC's zone centroids."""

from pathlib import Path

import agents
from training.recipe import Job


def write(job: Job) -> Path:
    """Write `agents/_zones.csv` from `rides/zone_centroids.csv`; gives its path."""
    import pyarrow.csv  # an optional dependency: only training has it

    table = pyarrow.csv.read_csv(job.path("rides/zone_centroids.csv"))
    lines = [
        f"{row['LocationID']},{row['lon']:.5f},{row['lat']:.5f}"
        for row in table.select(["LocationID", "lon", "lat"]).to_pylist()
    ]
    path = Path(next(iter(agents.__path__))) / "_zones.csv"
    path.write_text("\n".join(["zone,lon,lat", *lines]) + "\n", encoding="utf-8")
    return path
