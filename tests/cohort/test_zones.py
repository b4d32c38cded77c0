from functools import partial

import numpy as np
import pandas as pd
import pytest

from mmpkd.cohort.problems import Problems
from mmpkd.cohort.roi_table import read_rois
from mmpkd.cohort.rois import check_rois
from mmpkd.cohort.zone_settings import ZoneSettings
from mmpkd.cohort.zone_table import read_zones
from mmpkd.cohort.zones import SCHEMES
from mmpkd.errors import InputError


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if scheme.boxes])
def test_fixed_zones_tile_the_picture(name):
    boxes = SCHEMES[name].box_array
    assert ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)).sum() == pytest.approx(1.0)
    x, y = np.random.default_rng(0).random((2, 500, 1))
    inside = (x >= boxes[:, 0]) & (x < boxes[:, 2]) & (y >= boxes[:, 1]) & (y < boxes[:, 3])
    assert (inside.sum(axis=1) == 1).all()


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if scheme.boxes])
def test_the_patients_right_is_the_images_left(name):
    for zone, box in SCHEMES[name].boxes.items():
        assert (box[2] <= 0.5) if zone.startswith("right") else (box[0] >= 0.5)


def test_unions_are_made_of_the_zones_that_bear_their_words():
    six = SCHEMES["six"]
    assert six.unions["left"] == ("left upper", "left middle", "left lower")
    assert six.unions["lower"] == ("right lower", "left lower")
    assert six.members[six.regions.index("left")].tolist() == [False] * 3 + [True] * 3
    assert SCHEMES["twelve"].unions["right upper"] == ("right upper lateral", "right upper medial")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"scheme": "breast"}, "has no fixed places; give a 'table'"),
        ({"table": "zones.csv"}, "neither 'boxes' nor 'mask' nor 'rle'"),
        ({"table": "z.csv", "mask": "m", "names": {"A": "right uper"}}, "has no zone 'right uper'"),
        ({"table": "z.csv", "mask": "m", "lungs": {"L": "left"}}, "by their boxes; give 'boxes'"),
        ({"table": "z.csv", "boxes": list("abcd"), "scheme": "sides", "lungs": {"L": "left"}}, "the scheme 'six'"),
    ],
)
def test_settings_that_cannot_be_meant(data, sentence):
    with pytest.raises(InputError, match=sentence):
        ZoneSettings.from_data(data, "study.yaml")


def test_a_zone_outside_its_image_is_told(tmp_path):
    row = {"case": "a", "finding": "left lower", "x_min": 5.0, "y_min": 0.0, "x_max": 80.0, "y_max": 9.0}
    zones = pd.DataFrame([{**row, "mask": None, "mask_value": np.nan, "rle": None}])
    (problem,) = check_rois(zones, {"a": (64, 64)}, tmp_path, what="zone")
    assert problem.startswith("zone of case 'a', zone 'left lower': the box")
    assert "leaves the image of 64 x 64 px" in problem


def test_lungs_are_cut_in_thirds_by_their_boxes(tmp_path):
    """As CheXmask has them: masks with boxes, and a heart that is no zone."""
    lines = ["case,zone,x_min,y_min,x_max,y_max,rle"]
    lines += [
        "a,left lung,40,3,60,33,12 3 4",
        "a,right lung,5,6,25,36,",
        "a,heart,20,20,40,40,",
        "a,left lower,1,2,3,4,",
        "b,right lung,,,,,7 2",
    ]
    (tmp_path / "zones.csv").write_text("\n".join(lines) + "\n")
    settings = ZoneSettings.from_data(
        {
            "table": "zones.csv",
            "boxes": ["x_min", "y_min", "x_max", "y_max"],
            "rle": "rle",
            "lungs": {"left lung": "left", "right lung": "right"},
            "names": {"heart": None},
        },
        "study.yaml",
    )
    problems, cases = Problems(), pd.Index(["a", "b"])
    read = partial(read_rois, root=tmp_path, files=tmp_path, known_cases=cases, kept_cases=cases, problems=problems)
    rows = read_zones(settings, read, problems)
    assert not problems.sentences
    (warning,) = problems.warnings
    assert warning.startswith("zones.csv: 1 of 3 lungs have no box to cut into zones and are left without")
    assert "the right one of case 'b'" in warning
    assert rows is not None
    found = {row.finding: (row.x_min, row.y_min, row.x_max, row.y_max) for row in rows.itertuples()}
    assert found["left upper"] == (40, 3, 60, 13)
    assert found["right middle"] == (5, 16, 25, 26)
    assert found["right lower"] == (5, 26, 25, 36)
    assert len(rows) == 7  # three of each lung, and the zone that was named as one
    assert rows["rle"].isna().all()
