"""The page of statistics names functions that exist, and its example runs as it stands."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")


def test_every_function_of_the_table_exists_where_it_says() -> None:
    rows = [line.split("|")[2] for line in TEXT.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) >= 11
    for row in rows:
        module = None
        for name in re.findall(r"`([\w.]+)[^`]*`", row):
            where, _, function = name.rpartition(".")
            module = importlib.import_module(f"mmpkd.compare.{where}") if where else module
            assert callable(getattr(module, function)), name


def test_the_example_runs_and_agrees_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert found
    names: dict[str, object] = {}
    exec(compile(found[1], "statistics.md", "exec"), names)  # noqa: S102 - our own page
    assert len(capsys.readouterr().out.splitlines()) == 2
    # Five seeds tell more about the same patients than one does.
    one, seeds = names["one"].standard_error, names["all_seeds"].standard_error  # type: ignore[attr-defined]
    assert np.isfinite([one, seeds]).all()
    assert seeds < one
