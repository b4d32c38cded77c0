"""covid-chestxray-dataset: paths of findings, CT among X-rays, notes over several lines, a licence for each image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml

from mmpkd.cohort.converters.convert import convert_archive
from mmpkd.errors import InputError
from mmpkd.files import read_json

WORD = "zyzzyva"
FIRST = 730416


@pytest.fixture
def covid(write_tree: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that writes the tree, lets it be changed, and converts it with ids kept."""

    def convert(change: Callable[[Path], None] = lambda folder: None, *, how: Any = None, **options: Any) -> Any:
        tree = write_tree("covid_chestxray", **(how or {}))
        change(tree.roots[0])
        path = convert_archive(tree.archive, tree.roots, tmp_path / "out", {"identifiers": "kept", **options})
        return SimpleNamespace(
            cases=pd.read_parquet(path.with_name("cases.parquet")),
            described=yaml.safe_load(path.read_text()),
            record=read_json(path.with_name("conversion.json")),
            notice=path.with_name("NOTICE").read_text(),
        )

    return convert


def replace(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "metadata.csv"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def labels(cases: pd.DataFrame, row: int, *findings: str) -> list[str | None]:
    return [None if pd.isna(value) else value for value in cases.loc[row, list(findings)]]


def test_each_level_of_a_path_is_a_finding_and_what_it_does_not_say_is_missing(covid) -> None:
    cases = covid().cases
    findings = ("COVID-19", "Pneumonia", "Bacterial")
    assert labels(cases, 0, *findings) == ["1", "1", "0"]  # Pneumonia/Viral/COVID-19
    assert labels(cases, 1, *findings) == ["0", "1", "1"]  # Pneumonia/Bacterial/Streptococcus
    assert labels(cases, 2, *findings) == ["0", "0", "0"]  # No Finding
    assert labels(cases, 3, *findings) == ["0", "1", "0"]  # Pneumonia/Viral/SARS
    assert labels(cases, 5, *findings) == [None, "1", None]  # Pneumonia, of no stated cause


def test_other_levels_may_be_chosen(covid) -> None:
    out = covid(findings=["Viral", "Tuberculosis"])
    assert out.described["labels"] == ["Viral", "Tuberculosis"]
    assert labels(out.cases, 3, "Viral", "Tuberculosis") == ["1", "0"]


def test_ct_and_lateral_views_are_left_out_and_counted(covid) -> None:
    left_out = covid().record["left_out"]
    assert left_out["rows of another modality than X-ray (CT)"] == 1
    assert left_out["X-rays of other views than PA, AP, AP Supine"] == 1


def test_findings_not_stated_images_not_there_and_rows_twice_are_counted(covid) -> None:
    left_out = covid().record["left_out"]
    assert left_out["X-rays whose finding is not stated"] == 2
    assert left_out["X-rays that are not on disk"] == 1
    assert left_out["rows of an image that an earlier row names"] == 1


def test_notes_with_commas_quotes_and_line_breaks_stay_whole(covid) -> None:
    out = covid()
    assert out.cases["clinical_notes"].iloc[1] == f'A {WORD}, "1" years old,\nwith cough.'
    assert out.described["text"] == "clinical_notes"
    assert out.record["counts"]["images with clinical notes"] == 42  # all but i = 3, 10, 17, 24, 31, 38, 45


def test_licences_are_counted_in_the_notice(covid) -> None:
    out = covid()
    # i % 3 == 0 for 16 of 0..47; the 49th image states none
    assert out.record["counts"]["images, licence: CC0"] == 16
    assert out.record["counts"]["images, licence: CC BY-NC-SA 4.0"] == 32
    assert "images, licence: none stated: 1" in out.notice


def test_a_licence_that_is_no_name_is_not_quoted(covid) -> None:
    out = covid(replace("CC0", f"see https://x.org/{WORD} (c)"))
    assert out.record["counts"]["images, licence: another form"] == 1


def test_a_patient_keeps_several_images(covid) -> None:
    cases = covid().cases
    assert (cases["patient"] == str(FIRST)).sum() == 2
    assert cases["case"].is_unique


def test_the_test_of_the_virus_is_near_the_label_and_kept_only_on_request(covid) -> None:
    out = covid()
    assert "RT_PCR_positive" not in out.described["metadata"]
    assert any("near_label" in rule for rule in out.record["rules"])


def test_the_test_of_the_virus_on_request(covid) -> None:
    assert covid(near_label=True).described["metadata"]["RT_PCR_positive"] == "category"


def test_columns_that_are_blank_throughout_are_no_metadata(covid) -> None:
    metadata = covid().described["metadata"]
    assert metadata == {
        "offset": "number",
        "age": "number",
        "temperature": "number",
        "sex": "category",
        "view": "category",
        "survival": "category",
    }


def test_clinical_values_that_are_no_number_are_unknown_and_counted(covid) -> None:
    assert covid().record["left_out"]["clinical values that are no number, taken as unknown"] == 1


def test_the_first_releases_are_read_too(covid) -> None:
    out = covid(how={"early": True})
    assert out.record["versions"]["metadata.csv"] == "flat names of findings (early release)"
    assert labels(out.cases, 0, "COVID-19", "Pneumonia", "Bacterial") == ["1", "1", "0"]
    assert out.cases["clinical_notes"].notna().any()
    # without a column of modality the CT leaves by its view
    assert out.record["left_out"]["X-rays of other views than PA, AP, AP Supine"] == 2


def test_there_is_no_official_split(covid) -> None:
    assert "split" not in covid().described


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (replace("finding", "diagnosis"), {}, "metadata.csv, row 1: there is no column 'finding'"),
        (replace(f"\n{FIRST},", "\n,"), {}, "metadata.csv, row 2, column 'patientid': is blank"),
        (lambda folder: None, {"findings": ["COVID19"]}, "no X-ray has 'COVID19'; did you mean 'COVID-19'"),
        (lambda folder: None, {"views": ["PAA"]}, "no X-ray of the views PAA is left"),
    ],
)
def test_bad_input_is_told_by_its_place(covid, change, options, said: str) -> None:
    with pytest.raises(InputError) as caught:
        covid(change, **options)
    assert any(said in problem for problem in caught.value.problems), caught.value.problems
    assert WORD not in str(caught.value)
