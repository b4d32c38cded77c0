"""What tests of tables share: a table from the text of a CSV file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmpkd.cohort.table import Table, read_table_file


@pytest.fixture
def table_of(tmp_path: Path) -> Callable[[str], Table]:
    """Return a function that reads CSV text as the table ``cases.csv``."""

    def read(text: str) -> Table:
        path = tmp_path / "cases.csv"
        path.write_text(text, encoding="utf-8")
        return read_table_file(path, "cases.csv")

    return read
