import dataclasses
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from mmpkd.cohort.phantom import Phantom, PhantomSettings, generate, generate_chunks

KINDS = ("chest", "breast")


def assert_same(one: Phantom, other: Phantom, but: tuple[str, ...] = ()) -> None:
    for field in dataclasses.fields(Phantom):
        if field.name in but:
            continue
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, pd.DataFrame):
            pd.testing.assert_frame_equal(left, right)
        elif isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right, err_msg=field.name)
        else:
            assert left == right, field.name


def joined(chunks: list[Phantom]) -> Phantom:
    return Phantom(
        images=np.concatenate([c.images for c in chunks]),
        masks=np.concatenate([c.masks for c in chunks]),
        findings=chunks[0].findings,
        cases=pd.concat([c.cases for c in chunks], ignore_index=True),
        labels=np.concatenate([c.labels for c in chunks]),
        truth=np.concatenate([c.truth for c in chunks]),
        text=[text for c in chunks for text in c.text],
        metadata=pd.concat([c.metadata for c in chunks], ignore_index=True),
        zones=pd.concat([c.zones for c in chunks], ignore_index=True),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_cohort_and_another_seed_another(kind: str) -> None:
    settings = PhantomSettings(kind=kind, patients=6, seed=11)
    assert_same(generate(settings), generate(settings))
    other = generate(settings.model_copy(update={"seed": 12}))
    assert not np.array_equal(generate(settings).images[0], other.images[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size_px", [47, 64])
def test_the_chunk_size_changes_nothing(kind: str, size_px: int) -> None:
    settings = PhantomSettings(kind=kind, patients=13, size_px=size_px, marker=None, label_missing=0.2)
    whole = generate(settings)
    for patients in (1, 5):
        assert_same(joined(list(generate_chunks(settings, patients))), whole)


def test_a_larger_cohort_begins_with_the_smaller_one() -> None:
    small, large = (generate(PhantomSettings(patients=n)) for n in (5, 9))
    np.testing.assert_array_equal(large.images[: len(small)], small.images)
    assert large.text[: len(small)] == small.text


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        ({"label_noise": 0.4}, ("labels",)),
        ({"label_missing": 0.5}, ("labels",)),
        ({"text_detail": 0.3}, ("text",)),
        ({"text_spatial": False}, ("text",)),
        ({"metadata_strength": 1.0}, ("metadata",)),
        ({"contrast": 0.5}, ("images",)),
        ({"pixel_noise": 0.1}, ("images",)),
        ({"marker": "effusion"}, ("images", "cases")),
    ],
)
def test_a_knob_moves_its_own_part_and_no_other(change: dict[str, object], moves: tuple[str, ...]) -> None:
    settings = PhantomSettings(patients=20, label_noise=0.1)
    before, after = generate(settings), generate(settings.model_copy(update=change))
    assert_same(before, after, but=moves)
    for name in moves:
        with pytest.raises(AssertionError):
            assert_same(before, after, but=tuple(f.name for f in dataclasses.fields(Phantom) if f.name != name))


@pytest.mark.parametrize("kind", KINDS)
def test_the_image_size_changes_neither_anatomy_nor_words(kind: str) -> None:
    small, large = (generate(PhantomSettings(kind=kind, patients=8, size_px=s, pixel_noise=0.0)) for s in (64, 128))
    assert_same(small, large, but=("images", "masks", "zones"))
    corners = ["x_min", "y_min", "x_max", "y_max"]
    zones = small.zones.merge(large.zones, on=["case", "zone"], suffixes=("", "_large"))
    assert len(zones) == len(small.zones)
    for corner in corners:  # to the pixel: a thin zone may round either way
        assert (2 * zones[corner] - zones[f"{corner}_large"]).abs().max() <= 2
    shrunk = large.images.reshape(len(large), 64, 2, 64, 2).mean((2, 4))
    for one, other in zip(small.images, shrunk, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.97


def test_patients_have_one_to_three_images_evenly() -> None:
    phantom = generate(PhantomSettings(patients=600, size_px=32))
    counts = phantom.cases.groupby("patient").size().value_counts()
    assert set(counts.index) == {1, 2, 3}
    assert counts.min() > 150  # 200 expected, standard deviation 11.5
    assert phantom.cases["case"].is_unique


def test_pixels_are_held_a_chunk_at_a_time() -> None:
    def peak(patients: int) -> int:
        tracemalloc.start()
        for _ in generate_chunks(PhantomSettings(patients=patients, images_per_patient=(2, 2))):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(30)
    assert peak(300) < 1.1 * peak(60)


def test_the_marker_is_a_bright_letter_in_the_corner_and_nothing_else() -> None:
    settings = PhantomSettings(patients=30)
    plain, marked = generate(settings), generate(settings.model_copy(update={"marker": "nodule"}))
    differs = plain.images != marked.images
    rows, columns = np.nonzero(differs.any(0))
    assert rows.min() >= 3
    assert rows.max() <= 6
    assert columns.min() >= 58
    assert columns.max() <= 60
    np.testing.assert_array_equal(differs.any((1, 2)), marked.cases["marker"].to_numpy())
    assert marked.images[differs].min() == 250
