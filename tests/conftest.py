"""What every test may use: the folder of real data where it is at hand, and shape checks on public functions."""

import os
from pathlib import Path

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

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets; the test is skipped where it is absent."""
    folder = Path(os.environ.get("MMPKD_DATA", _BESIDE))
    if not folder.is_dir():
        pytest.skip(f"the real data is not at hand (no folder {folder}; set MMPKD_DATA)")
    return folder
