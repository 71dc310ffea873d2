"""Real card transactions with anonymised features: the first day of the ULB machine learning group's set (Dal Pozzolo 2015)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COLUMNS = (*(f"V{number}" for number in range(1, 29)), "Amount")


def read(path: Path) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(n, 29) features and whether each is a fraud, in order of time."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    order = np.argsort(table["Time"].to_numpy(), kind="stable")
    features = np.column_stack([table[name].to_numpy() for name in COLUMNS])
    return features[order], table["Class"].to_numpy()[order] == 1
