import pandas as pd
import pytest

from mmpkd.cohort.cohort import Privileged
from mmpkd.cohort.zones import SCHEMES
from mmpkd.errors import InputError
from mmpkd.teach.located import LocatedSettings, locate_findings, located_warnings
from mmpkd.teach.places.locate import Counts, Said, locate
from mmpkd.teach.places.parse import PlaceParser

SIX = SCHEMES["six"]


def _said(text, finding="consolidation", scheme=SIX, usual=()):
    counts = Counts()
    said = locate(PlaceParser()(text), {finding: [finding]}, scheme, counts, {finding: usual})
    return said.get(finding, {}), counts


def _regions(said, value):
    return {region for region, found in said.items() if found is value}


def test_a_place_is_present_with_all_that_contains_it_and_the_other_side_absent():
    said, counts = _said("Consolidation in the left lower lobe.")
    assert _regions(said, Said.PRESENT) == {"left lower", "left", "lower"}
    assert _regions(said, Said.ABSENT) == {"right", "right upper", "right middle", "right lower"}
    assert (counts.statements, counts.located) == (1, 1)


def test_neighbours_stay_unsaid():
    said, _ = _said("Consolidation in the left lower lobe.")
    assert not {"left upper", "left middle", "upper", "middle"} & set(said)


def test_both_sides_leave_nothing_absent():
    said, _ = _said("Bilateral consolidation.")
    assert said == {"left": Said.PRESENT, "right": Said.PRESENT}


def test_a_denial_is_absent_everywhere_and_in_one_place_only_there():
    said, counts = _said("No consolidation.")
    assert said == dict.fromkeys(SIX.regions, Said.ABSENT)
    assert counts.denied == 1
    said, _ = _said("No consolidation in the left lower lobe.")
    assert said == {"left lower": Said.ABSENT}


def test_what_is_affirmed_outweighs_a_general_denial():
    said, _ = _said("No lobar consolidation. Consolidation at the right base.")
    assert said["right lower"] is Said.PRESENT
    assert "right upper" not in said


def test_an_affirmed_finding_without_a_place_stays_unlocated():
    said, counts = _said("There is consolidation.")
    assert said == {}
    assert counts.unlocated == 1


def test_anatomy_says_where_the_text_does_not():
    said, _ = _said("Left pleural effusion.", "effusion", usual=("lower",))
    assert _regions(said, Said.PRESENT) == {"left", "left lower", "lower"}
    assert _regions(said, Said.ABSENT) == {"right", "right upper", "right middle", "right lower"}
    said, counts = _said("There is an effusion.", "effusion", usual=("lower",))
    assert said == {"lower": Said.PRESENT}  # of which side is still unsaid
    assert counts.unlocated == 1
    said, _ = _said("Cardiomegaly.", "cardiomegaly", usual=("right lower", "left lower"))
    assert _regions(said, Said.PRESENT) == {"right lower", "left lower", "right", "left", "lower"}


def test_anatomy_says_nothing_against_the_text():
    said, _ = _said("Effusion at the right apex.", "effusion", usual=("lower",))
    assert _regions(said, Said.PRESENT) == {"right upper", "right", "upper"}
    said, _ = _said("No effusion.", "effusion", usual=("lower",))
    assert said == dict.fromkeys(SIX.regions, Said.ABSENT)
    said, _ = _said("The lungs are clear.", "effusion", usual=("lower",))
    assert said == {}


def test_a_doubted_place_is_possible():
    said, _ = _said("Possible consolidation in the right upper lobe.")
    assert said["right upper"] is Said.POSSIBLE


def test_a_coarser_scheme_takes_the_side():
    said, counts = _said("Consolidation in the left lower lobe.", scheme=SCHEMES["sides"])
    assert said == {"left": Said.PRESENT, "right": Said.ABSENT}
    assert not counts.uncovered


def test_a_place_that_the_scheme_does_not_cover_is_counted():
    said, counts = _said("Perihilar consolidation.", scheme=SCHEMES["sides"])
    assert said == {}
    assert counts.uncovered == {"middle": 1}
    assert "'middle' (1 times)" in located_warnings(counts)[1]


def _privileged(*texts):
    cases = pd.Index([f"c{number}" for number in range(len(texts))])
    return Privileged(cases, cases.to_numpy(), pd.Series(list(texts), index=cases, dtype=object))


def test_rows_of_the_soft_label_table():
    rows, counts = locate_findings(
        _privileged("Effusion on the left.", None), ["effusion"], SCHEMES["sides"], LocatedSettings(present=0.9)
    )
    assert rows[["case", "finding", "region"]].to_numpy().tolist() == [
        ["c0", "effusion", "right"],
        ["c0", "effusion", "left"],
    ]
    assert rows["logit"].tolist() == pytest.approx([-2.944439, 2.197225], abs=1e-6)
    assert counts.silent == 0


@pytest.mark.parametrize("text", ["Kein Pleuraerguss. Verschattung links basal.", "There is an effusion."])
def test_texts_that_say_nothing_of_places_are_refused_with_a_remedy(text):
    with pytest.raises(InputError, match="says where any of the findings effusion is; the rules read English"):
        locate_findings(_privileged(text), ["effusion"], SIX, LocatedSettings())


def test_findings_are_mapped_and_words_added():
    settings = LocatedSettings(findings={"fluid": ("effusion", "wetness")}, words={"wetness": ("wetness",)})
    rows, _ = locate_findings(_privileged("Wetness on the right."), ["fluid"], SCHEMES["sides"], settings)
    assert set(rows["finding"]) == {"fluid"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (LocatedSettings(findings={"efusion": ("effusion",)}), "no finding 'efusion'"),
        (LocatedSettings(findings={"effusion": ("efusion",)}), "the lexicon has no 'efusion'"),
    ],
)
def test_misspelt_findings(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        locate_findings(_privileged("Effusion on the right."), ["effusion"], SIX, settings)


def test_a_finding_without_words():
    with pytest.raises(InputError, match="has words in the lexicon"):
        locate_findings(_privileged("Effusion on the right."), ["tuberculosis"], SIX, LocatedSettings())


def test_usual_places_must_be_known():
    text = Privileged(pd.Index(["a"]), ["p"], text=pd.Series(["Effusion."], index=["a"]))
    settings = LocatedSettings(usual={"efusion": ("lower",), "effusion": ("low",)})
    with pytest.raises(InputError) as caught:
        locate_findings(text, ("effusion",), SIX, settings)
    assert caught.value.problems == (
        "teach.located.usual: there is no finding 'efusion'; did you mean 'effusion'?",
        "teach.located.usual.effusion: the scheme 'six' has no region 'low'; did you mean 'lower'?",
    )
