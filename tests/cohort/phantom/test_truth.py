import numpy as np
import pytest

from mmpkd.cohort.phantom import Phantom, PhantomSettings, generate


def labelled(**settings: object) -> Phantom:
    return generate(PhantomSettings(patients=1500, images_per_patient=(1, 1), size_px=32, **settings))


def test_prevalence_is_what_was_asked() -> None:
    wanted = {"nodule": 0.1, "consolidation": 0.25, "effusion": 0.4, "pneumothorax": 0.05, "cardiomegaly": 0.3}
    seen = labelled(prevalence=wanted).truth.mean(0)
    expected = np.array(list(wanted.values()))
    assert np.all(np.abs(seen - expected) < 4 * np.sqrt(expected * (1 - expected) / 1500))


def test_findings_nobody_has_and_everybody_has() -> None:
    phantom = labelled(prevalence={"nodule": 0.0, "effusion": 1.0})
    assert phantom.truth[:, 0].sum() == 0
    assert phantom.truth[:, 2].mean() == 1
    assert not phantom.masks[:, 0].any()


def test_a_weak_heart_and_effusion_come_together_and_images_of_a_patient_agree(chest: Phantom) -> None:
    truth = chest.truth
    assert np.corrcoef(truth[:, 2], truth[:, 4])[0, 1] > 0.1
    twins = chest.cases["patient"].duplicated(keep=False).to_numpy()
    pairs = truth[twins].reshape(-1, 2, truth.shape[1])
    assert np.corrcoef(pairs[:, 0].ravel(), pairs[:, 1].ravel())[0, 1] > 0.35  # 0.7 * 0.7 expected


@pytest.mark.parametrize("noise", [0.0, 0.15, 0.3])
@pytest.mark.parametrize("prevalence", [0.1, 0.3])
def test_the_share_of_wrong_labels_is_the_one_stated(noise: float, prevalence: float) -> None:
    phantom = labelled(label_noise=noise, prevalence=prevalence)
    wrong = phantom.labels != phantom.truth
    assert wrong.mean() == pytest.approx(noise, abs=0.02)


def test_labels_miss_positives_mostly_and_subtle_ones_more_often() -> None:
    phantom = labelled(label_noise=0.15, prevalence=0.3)
    wrong, positive = phantom.labels != phantom.truth, phantom.truth == 1
    # Two thirds of 0.15 are 0.10, a third of the positives; the other 0.05 are a fourteenth of the negatives.
    assert wrong[positive].mean() == pytest.approx(1 / 3, abs=0.04)
    assert wrong[~positive].mean() == pytest.approx(0.05 / 0.7, abs=0.02)
    nodule = positive[:, 0]
    area = phantom.masks[nodule, 0].sum((1, 2))
    small = area < np.median(area)
    assert wrong[nodule, 0][small].mean() > wrong[nodule, 0][~small].mean() + 0.1


def test_no_more_than_half_of_the_positives_are_missed() -> None:
    phantom = labelled(label_noise=0.3, prevalence=0.1)
    wrong, positive = phantom.labels != phantom.truth, phantom.truth == 1
    assert wrong[positive].mean() == pytest.approx(0.5, abs=0.05)


def test_missing_labels_are_missing_at_random() -> None:
    phantom = labelled(label_missing=0.3)
    missing = np.isnan(phantom.labels)
    assert missing.mean() == pytest.approx(0.3, abs=0.02)
    assert missing[phantom.truth == 1].mean() == pytest.approx(missing[phantom.truth == 0].mean(), abs=0.04)
    assert not np.isnan(phantom.truth).any()


@pytest.mark.parametrize("correlation", [0.0, 0.6, 1.0])
def test_the_marker_goes_along_with_its_finding_as_strongly_as_asked(correlation: float) -> None:
    phantom = labelled(marker="effusion", marker_correlation=correlation)
    marker, finding = phantom.cases["marker"].to_numpy(), phantom.truth[:, 2] == 1
    assert marker[finding].mean() - marker[~finding].mean() == pytest.approx(correlation, abs=0.08)
