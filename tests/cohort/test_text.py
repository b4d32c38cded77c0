"""Text: columns joined, sections of reports chosen whatever the heading's spelling, blanks become None."""

from collections.abc import Callable

import pandas as pd
import pytest

from mmpkd.cohort.problems import Problems
from mmpkd.cohort.settings import TextSettings
from mmpkd.cohort.table import Table
from mmpkd.cohort.text import SectionFinder, read_text

Reader = Callable[[str], Table]


def read(table: Table, **settings: object) -> tuple[list[str | None], Problems]:
    problems = Problems()
    index = pd.Index([f"c{i}" for i in range(len(table))])
    text = read_text(table, TextSettings.model_validate(settings), index, problems)
    assert text.index.equals(index)
    return text.tolist(), problems


@pytest.mark.parametrize(
    ("report", "chosen"),
    [
        ("FINDINGS: clear. IMPRESSION: normal", "clear.\nnormal"),
        ("Findings: Clear lungs. Impression: Normal.", "Clear lungs.\nNormal."),
        ("findings :\r\nclear\r\nimpression :\r\nnormal", "clear\nnormal"),
        ("FINDINGS AND IMPRESSION:\nclear", "clear"),
        ("FINDINGS/IMPRESSION: clear", "clear"),
        ("Impression(s): normal", "normal"),
        ("CONCLUSION: normal", "normal"),
        ("1. FINDINGS: clear\n2. CONCLUSION: normal", "clear\nnormal"),
        ("## Findings\nclear\n## Impression\nnormal", "clear\nnormal"),
        ("**Findings:** clear\n**Impression:** normal", "clear\nnormal"),
        ("FINDINGS\nclear\nIMPRESSION\nnormal", "clear\nnormal"),
        ("CHEST PA no comment FINDINGS: clear", "clear"),
        ("IMPRESSION: normal\nFINDINGS: clear", "clear\nnormal"),
        ("FINDINGS:\n\nIMPRESSION: normal", "normal"),
        ("FINDINGS: a\nADDENDUM: b\nFINDINGS: c", "a\nc"),
    ],
)
def test_sections_are_found_in_many_spellings_and_come_in_the_order_asked(report: str, chosen: str):
    assert SectionFinder(["findings", "impression"]).choose(report) == chosen


def test_other_known_headings_end_a_section_and_subheadings_do_not():
    report = (
        " EXAMINATION:  CHEST (PA AND LAT)\n\n INDICATION:  ___ year old woman\n\n FINDINGS: \n\n LUNGS: clear.\n"
        " HEART: large.\n\n RECOMMENDATION(S):  CT.\n"
    )
    assert SectionFinder(["Findings"]).choose(report) == "LUNGS: clear.\n HEART: large."
    assert SectionFinder(["indication"]).choose(report) == "___ year old woman"


@pytest.mark.parametrize(
    "report",
    ["", "Lungs clear.", "The impression was: nothing.", "Time: 10:30. Lungs: clear", "FINDINGS:", "no findings here"],
)
def test_without_a_section_nothing_is_chosen(report: str):
    assert SectionFinder(["findings", "impression"]).choose(report) is None


def test_a_heading_of_ones_own_is_taken_literally():
    assert SectionFinder(["Röntgen (kurz)"]).choose("RÖNTGEN (KURZ): frei\nBEURTEILUNG: gut") == "frei"


def test_a_long_text_without_sections_is_searched_in_linear_time():
    report = "NO ACUTE DISEASE " * 20_000 + "a: b"
    assert SectionFinder(["findings"]).choose(report) is None  # a quadratic search would run into the time limit


def test_a_report_without_the_sections_is_kept_whole_and_counted(table_of: Reader):
    table = table_of('id,report\n1,"FINDINGS: clear"\n2,"All clear"\n3,\n')
    texts, problems = read(table, columns="report", sections=["findings"])
    assert texts == ["clear", "All clear", None]
    assert problems.warnings == ["cases.csv: 1 of 2 texts have none of the sections findings and are kept whole."]


def test_a_mistyped_section_is_hinted_at(table_of: Reader):
    _, problems = read(table_of("id,report\n1,FINDINGS: clear\n"), columns="report", sections=["findngs"])
    assert problems.warnings[0].endswith("kept whole; did you mean 'findings'?")


def test_columns_are_joined_and_blanks_skipped(table_of: Reader):
    table = table_of("id,a,b\n1,left, right \n2,,right\n3,left,\n4,NaN,\n")
    texts, _ = read(table, columns=["a", "b"])
    assert texts == ["left\nright", "right", "left", None]


def test_text_missing_throughout_is_a_problem(table_of: Reader):
    _, problems = read(table_of("id,a,b\n1,,\n2,na,\n"), columns=["a", "b"])
    assert problems.sentences == ["cases.csv, column 'a', 'b': no case has a text; fill it or leave out 'text'."]
