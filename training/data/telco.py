"""IBM's telco customers: 7,043 subscribers of a (fictional) telephone company, and who left within the month."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.boost import Floats

_LABEL, _KEY = "Churn", "customerID"
_NUMBERS = ("SeniorCitizen", "tenure", "MonthlyCharges", "TotalCharges")


def read(path: Path) -> tuple[Floats, NDArray[np.bool_], list[str]]:
    """Features (n, 19), who left (n,), and the column names; a text is the number of its value, in alphabetical order.

    Eleven new customers have no total yet: NaN.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in {_LABEL, _KEY}]
    columns = [_column(name, [row[name].strip() for row in rows]) for name in names]
    return np.column_stack(columns), np.array([row[_LABEL] == "Yes" for row in rows]), names


def _column(name: str, values: list[str]) -> Floats:
    if name in _NUMBERS:
        return np.array([float(value) if value else np.nan for value in values])
    codes = {value: code for code, value in enumerate(sorted(set(values)))}
    return np.array([codes[value] for value in values], dtype=np.float64)
