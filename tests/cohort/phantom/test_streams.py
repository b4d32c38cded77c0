import subprocess
import sys

import numpy as np

from mmpkd.cohort.phantom.streams import Slots, draw_streams

SLOTS = Slots(patient=("a", "b"), image=("c",), wording=(2, 3), grids=(4,))


def test_numbers_of_a_patient_depend_on_neither_neighbours_nor_image_size() -> None:
    many = draw_streams(7, "chest", range(5), (1, 3), 8, SLOTS)
    one = draw_streams(7, "chest", range(3, 4), (1, 3), 16, SLOTS)
    rows = many.patient == 3
    for name in ("a", "b", "c"):
        np.testing.assert_array_equal(many.named[name][rows], one.named[name])
    np.testing.assert_array_equal(many.wording[rows], one.wording)
    np.testing.assert_array_equal(many.grids[0][rows], one.grids[0])


def test_patient_numbers_are_shared_by_the_images_and_image_numbers_are_not() -> None:
    streams = draw_streams(0, "chest", range(50), (3, 3), 8, SLOTS)
    by_patient = streams.named["a"].reshape(50, 3)
    assert (by_patient == by_patient[:, :1]).all()
    assert len(np.unique(streams.named["c"])) == 150
    assert streams.image[:4].tolist() == [0, 1, 2, 0]


def test_the_two_kinds_and_two_seeds_share_no_numbers() -> None:
    drawn = [draw_streams(s, k, range(9), (1, 1), 8, SLOTS) for s, k in ((0, "chest"), (0, "breast"), (1, "chest"))]
    assert len({tuple(d.named["a"].tolist()) for d in drawn}) == 3


def test_naming_the_phantom_loads_no_drawing_code() -> None:
    code = "import sys, mmpkd.cohort.phantom; print('numpy' in sys.modules or 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
