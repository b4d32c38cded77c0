"""The summary picture: its size, its bytes, and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from PIL import Image

from mmpkd.errors import InputError
from mmpkd.folder import RunFolder
from mmpkd.report.summary import write_summary_figure


def test_picture_is_1200_px_wide_on_white_and_the_same_each_time(run_folder: RunFolder) -> None:
    path = run_folder.path / "summary.png"
    write_summary_figure(run_folder, path)
    first = path.read_bytes()
    with Image.open(path) as picture:
        assert picture.width == 1200
        assert 200 < picture.height < 800
        assert picture.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
        assert "Software" not in picture.info
    assert write_summary_figure(run_folder, path).read_bytes() == first


def test_many_findings_do_not_make_a_tower(make_run: Callable[..., RunFolder], fourteen: Sequence[str]) -> None:
    folder = make_run(findings=fourteen)
    with Image.open(write_summary_figure(folder, folder.path / "summary.png")) as picture:
        assert picture.height < 800


@pytest.mark.parametrize("missing", ["gallery", "comparison"])
def test_either_half_alone_makes_a_picture(run_folder: RunFolder, missing: str) -> None:
    getattr(run_folder, missing).unlink()
    with Image.open(write_summary_figure(run_folder, run_folder.path / "summary.png")) as picture:
        assert np.asarray(picture.convert("L")).min() < 100


def test_nothing_to_picture_is_said(run_folder: RunFolder) -> None:
    run_folder.gallery.unlink()
    run_folder.comparison.unlink()
    with pytest.raises(InputError, match="nothing to picture yet"):
        write_summary_figure(run_folder, run_folder.path / "summary.png")
    assert not (run_folder.path / "summary.png").exists()
