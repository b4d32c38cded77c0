import numpy as np
import pytest

from mmpkd.cohort.phantom import Phantom, PhantomSettings, generate


def test_a_mask_is_empty_exactly_where_the_finding_is_absent(breast: Phantom) -> None:
    np.testing.assert_array_equal(breast.masks.any((2, 3)), breast.truth == 1)


@pytest.mark.parametrize("size_px", [64, 200])
def test_findings_are_under_one_percent_of_the_image_and_at_least_some_pixels(size_px: int) -> None:
    phantom = generate(PhantomSettings(kind="breast", patients=60, size_px=size_px, prevalence=0.8))
    for finding in range(2):
        share = phantom.masks[phantom.truth[:, finding] == 1, finding].mean((1, 2))
        assert share.max() < 0.01
        assert share.min() * size_px**2 >= 6


def test_findings_lie_in_the_breast_and_stand_out(breast: Phantom) -> None:
    for finding in range(2):
        cases = breast.truth[:, finding] == 1
        images, masks = breast.images[cases], breast.masks[cases, finding]
        background = np.percentile(images, 10, axis=(1, 2))
        inside = np.array([image[mask].mean() for image, mask in zip(images, masks, strict=True)])
        assert (inside > background + 15).mean() > 0.98


def test_findings_are_brighter_than_the_same_place_without_them() -> None:
    settings = PhantomSettings(kind="breast", patients=80, prevalence=0.7, pixel_noise=0.0)
    shown, faint = generate(settings), generate(settings.model_copy(update={"contrast": 1e-3}))
    for finding in range(2):
        for i in np.flatnonzero(shown.truth[:, finding]):
            mask = shown.masks[i, finding]
            assert shown.images[i][mask].max() > int(faint.images[i][mask].max()) + 8


def test_a_right_breast_hangs_from_the_images_right_edge(breast: Phantom) -> None:
    right = (breast.metadata["side"] == "R").to_numpy()
    edge = breast.images[:, 24:40, :3].mean((1, 2)) - breast.images[:, 24:40, -3:].mean((1, 2))
    assert (edge[right] < 0).all()
    assert (edge[~right] > 0).all()


def test_the_pectoral_muscle_shows_in_the_oblique_view_only(breast: Phantom) -> None:
    right = (breast.metadata["side"] == "R").to_numpy()
    oblique = (breast.metadata["view"] == "MLO").to_numpy()
    corner = np.where(right[:, None, None], breast.images[:, :4, -4:], breast.images[:, :4, :4]).mean((1, 2))
    assert corner[oblique].min() > corner[~oblique].max()
