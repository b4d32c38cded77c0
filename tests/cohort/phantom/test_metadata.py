import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from mmpkd.cohort.phantom import Phantom, PhantomSettings, generate


def made(kind: str, strength: float) -> Phantom:
    return generate(
        PhantomSettings(
            kind=kind, patients=1500, images_per_patient=(1, 1), size_px=32, metadata_strength=strength, seed=2
        )
    )


def auroc(phantom: Phantom, column: str, finding: int) -> float:
    values = phantom.metadata[column]
    if not pd.api.types.is_numeric_dtype(values):
        order = {"never": 0, "former": 1, "current": 2, "none": 0, "dull": 1, "sudden": 2, "no": 0, "yes": 1}
        order |= {"screening": 0, "short interval": 1, "recall": 2}
        values = values.map(order).astype(float)
    seen = values.notna().to_numpy()
    return float(roc_auc_score(phantom.truth[seen, finding], values[seen]))


@pytest.mark.parametrize("kind", ["chest", "breast"])
def test_at_strength_zero_no_column_tells_of_any_finding(kind: str) -> None:
    phantom = made(kind, 0.0)
    codes = phantom.metadata.apply(lambda c: c if pd.api.types.is_numeric_dtype(c) else c.astype("category").cat.codes)
    for column in codes.columns:
        for finding in range(len(phantom.findings)):
            seen = codes[column].notna()
            value = roc_auc_score(phantom.truth[seen, finding], codes.loc[seen, column])
            assert value == pytest.approx(0.5, abs=0.07), (column, finding)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_temperature_tells_consolidation_as_two_shifted_normals_do(strength: float) -> None:
    expected = norm.cdf(2.2 * strength / np.sqrt(2))  # 0.782 at 0.5, 0.940 at 1
    assert auroc(made("chest", strength), "temperature", 1) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("kind", "column", "finding"),
    [
        ("chest", "smoking", 0),
        ("chest", "chest_pain", 3),
        ("chest", "nt_probnp", 4),
        ("breast", "palpable", 0),
        ("breast", "referral", 1),
    ],
)
def test_at_full_strength_each_finding_has_a_column_that_tells_it(kind: str, column: str, finding: int) -> None:
    assert auroc(made(kind, 1.0), column, finding) > 0.8


def test_some_values_are_missing_and_the_rest_are_plausible(chest: Phantom) -> None:
    table = chest.metadata
    assert 0.03 < table["temperature"].isna().mean() < 0.1
    assert table["temperature"].dropna().between(34, 41.5).all()
    assert table["oxygen_saturation"].dropna().between(75, 104).all()
    assert set(table["sex"]) == {"F", "M"}
    assert set(table["smoking"].dropna()) == {"never", "former", "current"}


def test_a_patients_sex_is_the_same_in_all_images(chest: Phantom) -> None:
    assert len(chest.cases.assign(sex=chest.metadata["sex"]).drop_duplicates(["patient", "sex"])) == 500
