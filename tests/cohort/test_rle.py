"""Run lengths: values worked by hand, an encoder of the compressed form written anew, and strings that are none."""

import re
import time

import hypothesis.extra.numpy as arrays
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mmpkd.cohort.problems import Problems
from mmpkd.cohort.rle import check_rle, decode_rle, encode_rle
from mmpkd.cohort.roi_table import read_rois
from mmpkd.cohort.rois import check_rois, roi_mask
from mmpkd.cohort.settings import RoiSettings
from mmpkd.errors import InputError

# 3 rows, 4 columns; down its columns: 00 1 | 1 1 0 | 0 0 0 | 1 0 1
HAND = np.array([[0, 1, 0, 1], [0, 1, 0, 0], [1, 0, 0, 1]], bool)
HAND_PLAIN = "2 3 4 1 1 1"


def compressed(runs: list[int]) -> str:
    """Write runs as COCO does, from the description of the form alone.

    The numbers are the first three runs, then the differences to the run before the last. Each is cut into groups of
    5 bits of its two's complement, lowest first, as many as leave the last group's top bit equal to the sign.
    """
    numbers = [run - runs[i - 2] if i > 2 else run for i, run in enumerate(runs)]
    text = ""
    for number in numbers:
        groups = 1
        while not -(2 ** (5 * groups - 1)) <= number < 2 ** (5 * groups - 1):
            groups += 1
        bits = [(number >> 5 * k) & 31 for k in range(groups)]
        text += "".join(chr(48 + bit + (32 if k < groups - 1 else 0)) for k, bit in enumerate(bits))
    return text


def runs_of(mask: np.ndarray) -> list[int]:
    """Count pixel by pixel, down the columns."""
    runs, value = [0], False
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if mask[row, column] != value:
                runs.append(0)
                value = not value
            runs[-1] += 1
    return runs


masks = arrays.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


def test_runs_go_down_columns_and_begin_outside():
    assert_array_equal(decode_rle(HAND_PLAIN, (3, 4)), HAND)
    assert encode_rle(HAND) == HAND_PLAIN


def test_a_mask_that_begins_inside_has_a_first_run_of_zero():
    mask = np.array([[1, 0], [1, 1]], bool)
    assert encode_rle(mask) == "0 2 1 1"
    assert_array_equal(decode_rle("0 2 1 1", (2, 2)), mask)


def test_the_compressed_form_of_the_same_runs():
    # 2 3 4, then 1-3 = -2, 1-4 = -3, 1-1 = 0; -2 is 30 in five bits, -3 is 29: characters 48 + 2, 3, 4, 30, 29, 0
    assert_array_equal(decode_rle("234NM0", (3, 4)), HAND)


def test_numbers_past_four_bits_take_two_characters():
    # 16 = 10000b would read as negative in one group: 16 + 32 + 48 = 96 is '`', then 0; 100 = 3 * 32 + 4: 'T', '3'
    assert check_rle("`0T3", (4, 29)).tolist() == [16, 100]


@pytest.mark.parametrize(("counts", "size"), [("PVWX6", (2320, 2828)), ("nefl3", (2022, 2021))])
def test_empty_masks_as_pycocotools_wrote_them_for_chexlocalize(counts: str, size: tuple[int, int]):
    assert check_rle(counts, size).tolist() == [size[0] * size[1]]


@pytest.mark.parametrize("text", ["2,3,4,1,1,1", " 2, 3, 4 1 1 1\n", "2\t3\t4\t1\t1\t1"])
def test_plain_runs_may_be_parted_in_any_way(text: str):
    assert_array_equal(decode_rle(text, (3, 4)), HAND)


def test_a_word_of_digits_is_plain_only_when_it_is_the_area():
    assert not decode_rle("12", (3, 4)).any()  # one run of 12
    assert decode_rle("04", (2, 2)).all()  # compressed: runs 0 and 4
    assert check_rle("525", (3, 4)).tolist() == [5, 2, 5]


@given(masks)
def test_encoding_and_decoding_return_the_mask(mask: np.ndarray):
    assert_array_equal(decode_rle(encode_rle(mask), mask.shape), mask)


@given(masks)
def test_the_plain_form_counts_the_pixels(mask: np.ndarray):
    assert encode_rle(mask) == " ".join(map(str, runs_of(mask)))


@given(masks)
def test_the_compressed_form_decodes_to_the_mask(mask: np.ndarray):
    assert_array_equal(decode_rle(compressed(runs_of(mask)), mask.shape), mask)


@given(st.lists(st.integers(0, 2**30), min_size=1, max_size=12))
def test_long_runs_survive_compression(runs: list[int]):
    assert check_rle(compressed(runs), (1, sum(runs))).tolist() == runs


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cover 0 px but the image has 4 x 3"),
        ("2 3 4 1 1", "cover 11 px but the image has 4 x 3"),
        ("2 3 4 1 1 2", "cover 13 px"),
        ("2 -3 4 1 1 7", "hold a negative run"),
        ("2 3 4.0 1 1 1", "are neither plain nor compressed"),
        ("2 3 four 1 1 1", "are neither plain nor compressed"),
        ("~~", "are neither plain nor compressed"),  # beyond the characters of the form
        ("234NM!", "are neither plain nor compressed"),
        ("2`", "are neither plain nor compressed"),  # ends in the middle of a number
        ("N", "hold a negative run"),  # compressed -2
        ("²", "are neither plain nor compressed"),
        # 2 (2^63 - 1) + 14 is 12 in 64 bits: a sum that wraps around is no area
        (f"{2**63 - 1} {2**63 - 1} 14", "px but the image has 4 x 3"),
        (f"{2**80} 1", "px but the image has 4 x 3"),
    ],
)
def test_what_is_no_run_length_is_refused_in_a_few_words(text: str, said: str):
    with pytest.raises(ValueError, match=re.escape(said)):
        check_rle(text, (3, 4))


@given(st.text(max_size=30))
def test_no_string_does_anything_but_decode_or_refuse(text: str):
    try:
        mask = decode_rle(text, (3, 4))
    except ValueError as error:
        assert re.match("cover|hold|are neither", str(error))  # noqa: PT017
    else:
        assert mask.shape == (3, 4)


def test_a_number_that_never_ends_is_refused_at_once():
    start = time.monotonic()
    with pytest.raises(ValueError, match="neither"):
        check_rle("o" * 1_000_000, (3, 4))
    assert time.monotonic() - start < 1


class TestAsRois:
    """The column ``rle`` of a table of ROIs."""

    SETTINGS = RoiSettings.model_validate({"table": "rois.csv", "rle": "runs", "boxes": ["x", "y", "w", "h"]})

    def read(self, folder, text: str) -> pd.DataFrame:
        (folder / "rois.csv").write_text("case,finding,runs,x,y,w,h\n" + text, encoding="utf-8")
        problems = Problems()
        rois = read_rois(
            self.SETTINGS,
            folder,
            files=folder,
            findings=("nodule",),
            known_cases=pd.Index(["a", "b"]),
            kept_cases=pd.Index(["a", "b"]),
            problems=problems,
        )
        problems.raise_any()
        assert rois is not None
        return rois

    def test_run_lengths_stand_beside_boxes(self, tmp_path):
        rois = self.read(tmp_path, f"a,nodule,{HAND_PLAIN},,,,\nb,nodule,,0,0,1,2\n")
        assert rois["rle"].tolist() == [HAND_PLAIN, None]
        assert rois["x_min"].isna().tolist() == [True, False]

    def test_the_mask_is_their_union(self, tmp_path):
        # the box (0, 0) to (1, 2) adds the first column's upper two pixels
        rois = self.read(tmp_path, f"a,nodule,{HAND_PLAIN},,,,\na,nodule,,0,0,1,2\n")
        expected = HAND | np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
        assert_array_equal(roi_mask(rois, (3, 4), tmp_path), expected)

    def test_on_a_reduced_canvas_half_of_the_area_counts(self, tmp_path):
        # 4 x 4, columns 0-1 and the pixel (0, 2): blocks of 2 x 2 are full on the left, a quarter in the upper right
        rois = self.read(tmp_path, "a,nodule,0 9 7,,,,\n")
        assert_array_equal(roi_mask(rois, (4, 4), tmp_path, max_side_px=2), [[True, False], [True, False]])

    def test_run_lengths_of_another_size_are_told_by_case_and_finding(self, tmp_path):
        rois = self.read(tmp_path, f"a,nodule,{HAND_PLAIN},,,,\nb,nodule,234NM0,,,,\n")
        assert check_rois(rois, {"a": (3, 4), "b": (4, 3)}, tmp_path) == []
        assert check_rois(rois, {"a": (3, 5), "b": (3, 4)}, tmp_path) == [
            "ROI of case 'a', finding 'nodule': the run lengths cover 12 px but the image has 5 x 3; "
            "give those of the original image."
        ]

    def test_a_mask_that_cannot_be_drawn_is_one_sentence(self, tmp_path):
        rois = self.read(tmp_path, "a,nodule,~~ ~,,,,\n")
        with pytest.raises(InputError, match="ROI of case 'a': the run lengths are neither plain nor compressed"):
            roi_mask(rois, (3, 4), tmp_path)

    def test_a_table_without_the_column_is_told(self, tmp_path):
        (tmp_path / "rois.csv").write_text("case,finding,x,y,w,h\na,nodule,0,0,1,1\n")
        problems = Problems()
        read_rois(
            self.SETTINGS,
            tmp_path,
            files=tmp_path,
            findings=("nodule",),
            known_cases=pd.Index(["a"]),
            kept_cases=pd.Index(["a"]),
            problems=problems,
        )
        assert len(problems) == 1
        assert "there is no column 'runs' (setting 'rois.rle')" in problems.sentences[0]
