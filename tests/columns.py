"""Rows of tiles as the columns that a ledger holds."""

import numpy as np

from ilcore.running.ledger import STATUS


def columns_of(rows):
    """Return one array a finding; NaN where a row does not know it."""
    names = {name for row in rows for name in row if name != "status"}
    found = {name: np.array([np.nan if row.get(name) is None else row[name] for row in rows]) for name in names}
    return found | {"status": np.array([STATUS.index(row["status"]) for row in rows])}
