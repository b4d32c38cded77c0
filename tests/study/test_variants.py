"""Study files that hold several studies, and those that describe a phantom for their cohort."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from mmpkd.errors import InputError
from mmpkd.files import write_table
from mmpkd.folder import RunFolder
from mmpkd.study.load import load_study, study_schema
from mmpkd.study.variants import variant_names, write_variants

PHANTOM = {"kind": "chest", "patients": 12, "size_px": 32, "seed": 3}


def _write(folder: Path, **changes: object) -> Path:
    study = {"name": "toy", "cohort": {"phantom": PHANTOM}, "arms": {"hard": {}, "mmpkd": {"lambda": 0.5}}, **changes}
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return path


def test_an_ordinary_study_has_no_variants(tmp_path: Path) -> None:
    path = _write(tmp_path)
    assert variant_names(path) == ()
    with pytest.raises(InputError, match=r"toy.yaml: has no variant 'a'; it is an ordinary study"):
        load_study(path, variant="a")


def test_a_variant_changes_what_it_names_at_any_depth_and_nothing_else(tmp_path: Path) -> None:
    changes = {"arms": {"mmpkd": {"temperature": 2.0}}, "seeds": [4], "cohort": {"phantom": {"text_spatial": False}}}
    path = _write(tmp_path, variants={"plain": None, "hot": changes})
    assert variant_names(path) == ("plain", "hot")
    plain, plain_root = load_study(path, variant="plain")
    hot, hot_root = load_study(path, variant="hot")
    assert (plain.name, hot.name) == ("toy-plain", "toy-hot")
    assert plain.arms["mmpkd"].objective.temperature == 1.0
    objective = hot.arms["mmpkd"].objective
    assert (objective.lambda_, objective.temperature) == (0.5, 2.0)
    assert plain.seeds == (0, 1, 2)
    assert hot.seeds == (4,)
    assert plain_root != hot_root


def test_variants_of_one_phantom_share_its_folder_which_is_written_once(tmp_path: Path) -> None:
    path = _write(tmp_path, variants={"a": {"seeds": 1}, "b": {"seeds": 2}})
    _, first = load_study(path, variant="a")
    written = (first / "table.csv").stat().st_mtime_ns if (first / "table.csv").exists() else None
    _, second = load_study(path, variant="b")
    assert first == second
    assert first.parent == tmp_path / "cohorts"
    assert written is None or (second / "table.csv").stat().st_mtime_ns == written


def test_a_phantoms_description_may_be_changed(tmp_path: Path) -> None:
    plain, _ = load_study(_write(tmp_path))
    changed, _ = load_study(_write(tmp_path, cohort={"phantom": PHANTOM, "change": {"text": None}}))
    assert plain.cohort.text is not None
    assert changed.cohort.text is None


@pytest.mark.parametrize(
    ("variants", "variant", "message"),
    [
        ({"large": {}}, None, r"holds the variants large; name one with --variant"),
        ({"large": {}}, "lage", r"has no variant 'lage'.*'large'"),
        ({}, "large", r"'variants' maps names to the settings that differ"),
        ({"../up": {}}, "x", r"the variant '../up' names a folder"),
        ({"large": 5}, "large", r"the variant 'large' is 5; give a mapping"),
        ({"large": {"sedes": 5}}, "large", r"sedes"),
    ],
)
def test_a_wrong_variant_is_told_in_one_sentence(
    tmp_path: Path, variants: object, variant: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_study(_write(tmp_path, variants=variants), variant=variant)


def test_a_phantom_takes_no_root(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its cohort is a phantom, which has no folder of its own; leave --root out"):
        load_study(_write(tmp_path), tmp_path)


def test_comparisons_of_all_variants_stand_in_one_table(tmp_path: Path) -> None:
    for name, estimate in (("a", 0.5), ("b", 0.75)):
        table = pd.DataFrame({"arm": ["hard"], "estimate": [estimate]})
        write_table(RunFolder(tmp_path / name).comparison, table, {})
    together = pd.read_csv(write_variants(tmp_path, ["a", "b"]))
    assert together.to_dict("list") == {"variant": ["a", "b"], "arm": ["hard", "hard"], "estimate": [0.5, 0.75]}


def test_the_schema_knows_every_form_of_cohort_and_the_variants() -> None:
    schema = study_schema()
    forms = {form.get("$ref", form.get("type")) for form in schema["properties"]["cohort"]["anyOf"]}
    assert {"#/$defs/ArchiveCohort", "#/$defs/PhantomCohort", "string"} <= forms
    assert "PhantomSettings" in schema["$defs"]
    assert "variants" in schema["properties"]
