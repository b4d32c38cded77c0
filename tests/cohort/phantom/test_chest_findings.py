import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from mmpkd.cohort.phantom import Phantom, PhantomSettings, generate
from mmpkd.cohort.phantom import chest as anatomy
from mmpkd.cohort.phantom.streams import Slots, draw_streams

NODULE, CONSOLIDATION, EFFUSION, PNEUMOTHORAX, CARDIOMEGALY = range(5)


@pytest.fixture(scope="module")
def clean() -> Phantom:
    """One finding an image at most is common at this prevalence; no pixel noise, so that brightness can be compared."""
    settings = PhantomSettings(patients=500, images_per_patient=(1, 1), prevalence=0.15, pixel_noise=0.0, seed=5)
    return generate(settings)


def only(phantom: Phantom, finding: int) -> np.ndarray:
    return np.flatnonzero((phantom.truth[:, finding] == 1) & (phantom.truth.sum(1) == 1))


def ring(mask: np.ndarray, width: int) -> np.ndarray:
    return binary_dilation(mask, iterations=width + 1) & ~binary_dilation(mask, iterations=1)


def test_a_mask_is_empty_exactly_where_the_finding_is_absent(chest: Phantom) -> None:
    np.testing.assert_array_equal(chest.masks.any((2, 3)), chest.truth == 1)


def test_masks_are_large_enough_to_be_seen_and_small_enough_to_be_a_place(chest: Phantom) -> None:
    share = chest.masks.mean((2, 3))
    for finding, (low, high) in enumerate([(0.002, 0.015), (0.002, 0.08), (0.004, 0.2), (0.006, 0.1), (0.06, 0.3)]):
        seen = share[chest.truth[:, finding] == 1, finding]
        assert seen.min() > low
        assert seen.max() < high


@pytest.mark.parametrize("finding", [NODULE, CONSOLIDATION])
def test_nodules_and_consolidations_are_brighter_than_the_lung_around_them(clean: Phantom, finding: int) -> None:
    cases = only(clean, finding)
    brighter = [
        clean.images[i][clean.masks[i, finding]].mean() > clean.images[i][ring(clean.masks[i, finding], 2)].mean()
        for i in cases
    ]
    assert np.mean(brighter) > 0.9


@pytest.mark.parametrize(("finding", "sign"), [(EFFUSION, 1), (PNEUMOTHORAX, -1)])
def test_effusions_are_bright_and_pneumothoraces_dark_beside_the_other_lung(
    clean: Phantom, finding: int, sign: int
) -> None:
    settings = PhantomSettings(patients=500, images_per_patient=(1, 1), prevalence=0.15, pixel_noise=0.0, seed=5)
    faint = generate(settings.model_copy(update={"contrast": 1e-3}))
    for i in only(clean, finding):
        mask = clean.masks[i, finding]
        change = clean.images[i][mask].mean() - faint.images[i][mask].mean()
        assert sign * change > 8


def test_an_enlarged_heart_is_wider_than_half_the_thorax() -> None:
    slots = Slots(anatomy.PATIENT_SLOTS, anatomy.IMAGE_SLOTS, (1, 1), anatomy.GRIDS)
    streams = draw_streams(0, "chest", range(200), (1, 1), 32, slots)
    severity = np.linspace(0, 1, 200, dtype=np.float32)[:, None, None]
    for enlarged, low, high in ((False, 0.38, 0.5), (True, 0.55, 0.75)):
        thorax = anatomy.build_thorax(streams, 32, np.full((200, 1, 1), enlarged), severity)
        ratio = thorax.heart_half_width / thorax.width
        assert ratio.min() > low
        assert ratio.max() < high


def test_the_heart_lies_to_the_patients_left(chest: Phantom) -> None:
    hearts = chest.masks[chest.truth[:, CARDIOMEGALY] == 1, CARDIOMEGALY]
    columns = (hearts * np.arange(64)).sum((1, 2)) / hearts.sum((1, 2))
    assert columns.mean() > 33.5


def test_findings_of_one_image_do_not_hide_one_another(chest: Phantom) -> None:
    nodule = chest.masks[:, NODULE]
    for other in (CONSOLIDATION, EFFUSION, PNEUMOTHORAX):
        shared = (nodule & chest.masks[:, other]).sum((1, 2)) / np.maximum(nodule.sum((1, 2)), 1)
        assert (shared > 0.5).mean() < 0.005
