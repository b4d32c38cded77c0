"""The report as a file: self-contained, deterministic, discreet, and honest about what has not run."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from html.parser import HTMLParser

import pandas as pd
import pytest

from mmpkd.errors import InputError
from mmpkd.files import read_json, read_table, write_json, write_table
from mmpkd.folder import RunFolder
from mmpkd.report.build import write_report

VOID = {"meta", "img", "br", "link"}
HOSTILE = "<script>alert('x')</script> & $cost$"


class Page(HTMLParser):
    """Collects tags, attributes and text, and refuses tags that do not close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def rendered(folder: RunFolder) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def test_report_lies_in_the_run_folder(run_folder: RunFolder) -> None:
    assert write_report(run_folder) == run_folder.path / "report.html"


def test_report_is_well_formed_and_has_every_figure(whole_report: str) -> None:
    page = Page(whole_report)
    assert page.tags.count("h1") == 1
    # teacher, AUROC, its difference, 2 x (6 + 1) thresholded, 2 + 1 others, 4 curves, labels
    assert page.tags.count("svg") == 3 + 14 + 3 + 4 + 1


def test_report_loads_nothing_and_runs_nothing(whole_report: str) -> None:
    html = whole_report
    page = Page(html)
    assert "://" not in html
    assert "script" not in page.tags
    assert "link" not in page.tags
    targets = [value for _, name, value in page.attributes if name in ("src", "href", "xlink:href", "srcset")]
    assert all(target.startswith(("data:image/png;base64,", "#")) for target in targets)
    assert all(found == "#" for found in re.findall(r"url\(([^)])", html))
    policy = [value for _, name, value in page.attributes if name == "content" and "default-src" in value]
    assert policy == [
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    ]


def test_every_id_is_unique_and_every_reference_has_its_target(whole_report: str) -> None:
    html = whole_report
    identities = Counter(value for _, name, value in Page(html).attributes if name == "id")
    assert [name for name, count in identities.items() if count > 1] == []
    wanted = set(re.findall(r'href="#([^"]+)"', html)) | set(re.findall(r"url\(#([^)]+)\)", html))
    assert wanted <= set(identities)


def test_hostile_names_and_sentences_stay_text(make_run: Callable[..., RunFolder]) -> None:
    folder = make_run(findings=(HOSTILE, "effusion"))
    verdict = read_json(folder.verdict)
    write_json(folder.verdict, {**verdict, "answer": HOSTILE})
    html = rendered(folder)
    page = Page(html)
    assert "script" not in page.tags
    assert "<script" not in html
    assert page.text.count("<script>alert('x')</script> & $cost$") > 5


def test_same_folder_gives_the_same_bytes(make_run: Callable[..., RunFolder]) -> None:
    first, second = make_run(name="first"), make_run(name="second")
    assert write_report(first).read_bytes() == write_report(second).read_bytes()
    before = first.report.read_bytes()
    assert write_report(first).read_bytes() == before


def test_case_ids_and_paths_stay_out_while_model_names_stay_in(
    whole_report: str, whole_run: RunFolder, hidden: Sequence[str]
) -> None:
    html = whole_report
    assert [secret for secret in hidden if secret in html] == []
    assert str(whole_run.path) not in html
    assert "microsoft/BiomedNLP-PubMedBERT" in html
    assert "(path withheld): is cut short; it is left out." in html


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("verdict", "The arms have not been compared in this run folder, so there is no verdict."),
        ("teacher", "No teacher has been scored in this run folder"),
        ("comparison", "The arms have not been compared in this run folder: the stage compare has not run."),
        ("cohort", "There is no summary of the cohort in this run folder"),
        ("gallery", "There are no example cases"),
    ],
)
def test_a_section_without_its_file_says_what_has_not_run(
    whole_report: str, run_folder: RunFolder, missing: str, sentence: str
) -> None:
    assert sentence not in Page(whole_report).text
    getattr(run_folder, missing).unlink()
    assert sentence in Page(rendered(run_folder)).text


def test_a_run_that_has_only_begun_has_a_report(run_folder: RunFolder) -> None:
    bare = RunFolder(run_folder.path.parent / "bare")
    bare.path.mkdir()
    for name in ("study.yaml", "run.json"):
        (bare.path / name).write_bytes((run_folder.path / name).read_bytes())
    page = Page(rendered(bare))
    assert page.text.count("has not run") >= 4
    assert "No student has been trained in this run folder" in page.text
    assert "9f2c41d07ab35e18" in page.text
    assert "svg" not in page.tags


def test_verdict_and_primary_endpoint_come_first(whole_report: str) -> None:
    text = Page(whole_report).text
    answer = text.index("With privileged text the student tells findings apart better")
    assert answer < text.index("Caveats") < text.index("primary endpoint") < text.index("The teacher")
    assert "Macro AUROC, mmpkd \u2212 hard +0.051 +0.034 to +0.068" in text


def test_false_discovery_and_false_positive_rate_are_both_named(whole_report: str) -> None:
    text = Page(whole_report).text
    assert "False discovery rate (FDR)" in text
    assert "False positive rate (FPR)" in text
    assert "chance" in text
    assert "Centre prior" in text
    assert "Mean-ROI prior" in text


def test_level_of_the_intervals_is_the_studys(run_folder: RunFolder) -> None:
    assert "with 95% intervals" in rendered(run_folder)
    run_folder.study.write_text("compare: {level: 0.9}\n", encoding="utf-8")
    assert "with 90% intervals" in rendered(run_folder)


def test_an_in_sample_teacher_is_said_to_flatter_itself(run_folder: RunFolder) -> None:
    write_json(run_folder.teacher, {**read_json(run_folder.teacher), "out_of_fold": False})
    text = Page(rendered(run_folder)).text
    assert "such scores flatter it" in text
    assert "had not seen their patient" not in text


def test_undefined_scores_are_dashes_never_zero(run_folder: RunFolder) -> None:
    table = read_table(run_folder.comparison)
    undefined = (table["metric"] == "auroc") & (table["finding"] == "nodule")
    table.loc[undefined, ["estimate", "low", "high"]] = float("nan")
    write_table(run_folder.comparison, table)
    text = Page(rendered(run_folder)).text
    assert "nodule \u2013 \u2013 \u2013 consolidation" in text


def test_fourteen_findings_fit(make_run: Callable[..., RunFolder], fourteen: Sequence[str]) -> None:
    text = Page(rendered(make_run(findings=fourteen))).text
    assert "enlarged cardiomediastinum" in text
    assert "enlarged_cardiomediastinum:" in text  # the settings keep the file's own spelling


@pytest.mark.parametrize("missing", ["study", "run"])
def test_a_folder_that_is_no_run_is_refused_by_name(run_folder: RunFolder, missing: str) -> None:
    path = getattr(run_folder, missing)
    path.unlink()
    with pytest.raises(InputError, match=re.escape(f"{path}: not found")):
        write_report(run_folder)


def test_a_damaged_document_is_named(run_folder: RunFolder) -> None:
    run_folder.teacher.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"teacher\.json: not a JSON object"):
        write_report(run_folder)


def test_a_comparison_without_a_column_is_named(run_folder: RunFolder) -> None:
    write_table(run_folder.comparison, read_table(run_folder.comparison).drop(columns="role"))
    with pytest.raises(InputError, match=r"comparison\.parquet: lacks the column 'role'"):
        write_report(run_folder)


def test_a_cohort_summary_of_unknown_shape_is_told_as_far_as_it_goes(run_folder: RunFolder) -> None:
    run_folder.cohort.write_text(json.dumps({"name": "sparse", "cases": 12}), encoding="utf-8")
    assert "Cases 12" in Page(rendered(run_folder)).text


def test_an_empty_comparison_is_as_good_as_none(run_folder: RunFolder) -> None:
    empty = read_table(run_folder.comparison).iloc[:0]
    write_table(run_folder.comparison, pd.DataFrame(empty))
    assert "the stage compare has not run" in Page(rendered(run_folder)).text
