import re

import numpy as np
import pytest

from mmpkd.cohort.phantom import Phantom, PhantomSettings, generate
from mmpkd.cohort.phantom.wording import SPATIAL_WORDS, WORDING


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+(?:-[a-z]+)?", text.lower()))


def only(phantom: Phantom, finding: int) -> np.ndarray:
    return np.flatnonzero((phantom.truth[:, finding] == 1) & (phantom.truth.sum(1) == 1))


def centre(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(rows.mean()), float(columns.mean())


def test_every_report_has_its_two_sections_in_order_and_reads_cleanly(chest: Phantom, breast: Phantom) -> None:
    for text in chest.text + breast.text:
        assert re.fullmatch(r"[^:]+ FINDINGS: .* IMPRESSION: .+\.", text)
        assert "  " not in text
        assert ".." not in text
        assert " ." not in text
        assert "{" not in text
        assert not re.search(r"\ba [aeiou]", text)


@pytest.mark.parametrize("finding", [0, 1, 2, 3])
def test_right_in_the_text_is_the_left_of_the_image(chest: Phantom, finding: int) -> None:
    told = 0
    for i in only(chest, finding):
        _, column = centre(chest.masks[i, finding])
        said = words(chest.text[i])
        right, left = bool(said & {"right", "right-sided"}), bool(said & {"left", "left-sided"})
        assert not (right and left)
        if right or left:
            told += 1
            assert (column < 32) == right
    assert told > 15


def test_a_bilateral_effusion_has_fluid_on_both_sides(chest: Phantom) -> None:
    for i in only(chest, 2):
        both = chest.masks[i, 2, :, :28].any() and chest.masks[i, 2, :, 36:].any()
        if "bilateral" in words(chest.text[i]):
            assert both
        elif words(chest.text[i]) & {"right", "left", "right-sided", "left-sided"}:
            assert not both


def test_upper_zone_lesions_lie_above_lower_zone_lesions(chest: Phantom) -> None:
    rows: dict[str, list[float]] = {"upper": [], "lower": []}
    for i in only(chest, 0):
        for zone in words(chest.text[i]) & rows.keys():
            rows[zone].append(centre(chest.masks[i, 0])[0])
    assert len(rows["upper"]) > 5
    assert len(rows["lower"]) > 5
    assert max(rows["upper"]) < min(rows["lower"])


def test_the_side_of_a_mammogram_is_in_its_report(breast: Phantom) -> None:
    for text, side in zip(breast.text, breast.metadata["side"], strict=True):
        assert ("right" in words(text)) == (side == "R")
        assert ("left" in words(text)) == (side == "L")


def test_the_size_in_mm_is_the_size_of_the_mask() -> None:
    phantom = generate(PhantomSettings(patients=70, size_px=256, images_per_patient=(1, 1), prevalence={"nodule": 1.0}))
    told = 0
    for i in np.flatnonzero(phantom.truth[:, 0]):
        said = re.search(r"(\d+) mm", phantom.text[i])
        if said:
            told += 1
            across_mm = 2 * np.sqrt(phantom.masks[i, 0].sum() / np.pi) / 256 * 350
            assert float(said.group(1)) == pytest.approx(across_mm, rel=0.1)
    assert told > 20


def test_a_finding_that_is_absent_is_denied_or_not_spoken_of() -> None:
    settings = PhantomSettings(patients=300, images_per_patient=(1, 1), size_px=32, prevalence=0.0)
    denial = re.compile(r"\b(no|not|neither|negative|unlikely|cannot|normal|unremarkable)\b", re.IGNORECASE)
    nouns = [noun for word in WORDING.values() for noun in word.nouns]
    for text in generate(settings).text:
        for sentence in re.split(r"(?<=\.) ", text):
            if any(re.search(rf"\b{re.escape(noun)}\b", sentence, re.IGNORECASE) for noun in nouns):
                assert denial.search(sentence), sentence


def test_a_finding_that_is_present_is_named_and_sometimes_hedged() -> None:
    settings = PhantomSettings(patients=400, images_per_patient=(1, 1), size_px=32, prevalence={"effusion": 1.0})
    hedges = re.compile(r"\b(possible|questionable|may represent|cannot be excluded|suspected)\b", re.IGNORECASE)
    hedged = 0
    for text in generate(settings).text:
        sentences = [s for s in re.split(r"(?<=\.) ", text) if re.search("effusion|pleural fluid", s, re.IGNORECASE)]
        assert sentences
        hedged += bool(hedges.search(sentences[0].removeprefix("FINDINGS: ")))
    assert hedged / 400 == pytest.approx(0.15, abs=0.06)


@pytest.mark.parametrize("kind", ["chest", "breast"])
def test_a_text_without_places_has_no_word_of_place_but_names_the_same_findings(kind: str) -> None:
    settings = PhantomSettings(kind=kind, patients=200, size_px=32)
    spatial, plain = generate(settings), generate(settings.model_copy(update={"text_spatial": False}))
    nouns = re.compile("|".join(noun for word in WORDING.values() for noun in word.nouns), re.IGNORECASE)
    for with_places, without in zip(spatial.text, plain.text, strict=True):
        assert not words(without) & SPATIAL_WORDS
        assert nouns.findall(with_places.lower()) == nouns.findall(without.lower())
    assert any(words(text) & SPATIAL_WORDS for text in spatial.text)


def test_text_detail_is_the_share_of_present_findings_that_are_named() -> None:
    for detail in (0.0, 0.5, 1.0):
        settings = PhantomSettings(
            patients=500, images_per_patient=(1, 1), size_px=32, text_detail=detail, prevalence={"pneumothorax": 1.0}
        )
        named = [bool(re.search("pneumothorax|PTX", text)) for text in generate(settings).text]
        assert np.mean(named) == pytest.approx(detail, abs=0.08)


def test_a_text_without_detail_does_not_depend_on_the_findings() -> None:
    settings = PhantomSettings(patients=100, images_per_patient=(1, 1), size_px=32, text_detail=0.0)
    ill, well = (generate(settings.model_copy(update={"prevalence": p})) for p in (0.9, 0.0))
    assert ill.text == well.text


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_linear_text_teacher_sees_through_the_label_noise(seed: int) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold

    phantom = generate(PhantomSettings(patients=500, seed=seed, label_noise=0.15))
    text, scores = np.array(phantom.text), np.zeros_like(phantom.truth)
    for train, held_out in GroupKFold(5).split(text, groups=phantom.cases["patient"]):
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        seen, unseen = vectorizer.fit_transform(text[train]), vectorizer.transform(text[held_out])
        for k in range(len(phantom.findings)):
            model = LogisticRegression(max_iter=500).fit(seen, phantom.labels[train, k])
            scores[held_out, k] = model.predict_proba(unseen)[:, 1]
    assert roc_auc_score(phantom.truth, scores, average="macro") > 0.95
