"""What every test may use: the folder of real data where it is at hand, and shape checks on public functions."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # workers beside each other: a thread each, told before torch is loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from jaxtyping import install_import_hook

# In the numeric rooms every annotated shape is checked by beartype while the tests run. (Settings models are pydantic's
# to check, and beartype cannot read their `Self`.)
install_import_hook(
    [
        "mmpkd.attribute",
        "mmpkd.evaluate",
        "mmpkd.compare",
        "mmpkd.distil.heads",
        "mmpkd.distil.objective",
        "mmpkd.distil.attention_terms",
    ],
    "beartype.beartype",
)


@pytest.fixture(autouse=True)
def _threads_stay_as_they_were() -> Iterator[None]:
    """Give torch its threads back after a test that ran a study, which sets them for the whole process."""
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    yield
    if before is not None and sys.modules["torch"].get_num_threads() != before:
        sys.modules["torch"].set_num_threads(before)


_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets; the test is skipped where it is absent."""
    folder = Path(os.environ.get("MMPKD_DATA", _BESIDE))
    if not folder.is_dir():
        pytest.skip(f"the real data is not at hand (no folder {folder}; set MMPKD_DATA)")
    return folder
