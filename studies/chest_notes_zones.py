"""Real notes and two radiologists: does text that says where agree with them, and does a student that it teaches?

    python studies/chest_notes_zones.py cohort DATA OUT     writes cohort and study, prints how the notes agree
    mmpkd run OUT/study.yaml --out RUN
    python studies/chest_notes_zones.py maps RUN OUT        prints how the students' maps agree

DATA is the folder of chest_xray_notes (covid-chestxray-dataset with lung boxes). Two radiologists scored six lung
zones, 0 to 3, on 88 of its images; these, with all images of their patients, are the test split. Zones are thirds of
each lung's box. A zone is involved where the mean of both scores is at least 1.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from mmpkd.cohort.read import read_cohort
from mmpkd.cohort.settings import CohortSettings
from mmpkd.cohort.zones import SCHEMES
from mmpkd.compare.crossed import seeds_by_patients
from mmpkd.compare.delong import delong
from mmpkd.compare.resample import draw_counts, mean_draws
from mmpkd.files import write_text
from mmpkd.settings import read_yaml
from mmpkd.study.load import load_study
from mmpkd.study.localise import roi_targets, token_map_on_canvas
from mmpkd.study.map_file import read_maps
from mmpkd.study.run import StudyRun
from mmpkd.teach.located import LocatedSettings, locate_findings

FINDING = "covid19"
LOCATED = LocatedSettings(findings={FINDING: ("consolidation", "opacity")})
STUDY = Path(__file__).parent / "chest-notes-spatial.yaml"
SIDES, LEVELS = ("right", "left"), ("upper", "middle", "lower")
BOX = ["x_min", "y_min", "x_max", "y_max"]
INVOLVED = 1.0


def write_cohort(data: Path, out: Path) -> None:
    """Write the tables of the cohort: cases with a split, zones of all images, involved and free zones of the test."""
    cases = pd.read_csv(data / "manifest.csv", dtype={"image_id": str})
    scores = read_scores(data)
    tested = cases.loc[cases["image_id"].isin(scores.index), "group_id"].unique()
    rest = np.random.default_rng(0).permutation(sorted(set(cases["group_id"]) - set(tested)))
    validating = rest[: len(rest) // 5]
    split = np.select([cases["group_id"].isin(tested), cases["group_id"].isin(validating)], ["test", "val"], "train")
    zones = zone_boxes(pd.read_csv(data / "rois.csv", dtype={"image_id": str}))
    known = zones[zones["case"].isin(scores.index)]
    score = known.apply(lambda row: scores.loc[row["case"], row["zone"]], axis=1)
    tables = {
        "cases.csv": cases.assign(split=split),
        "zones.csv": zones,
        "involved.csv": known[score >= INVOLVED].assign(finding=FINDING),
        "free.csv": known[score < INVOLVED].assign(finding=FINDING),
    }
    for name, table in tables.items():
        write_text(out / name, table.to_csv(index=False, lineterminator="\n"))
    study = read_yaml(STUDY)
    study["cohort"]["image_root"] = str(data.resolve())
    write_text(out / "study.yaml", yaml.safe_dump(study, sort_keys=False))


def read_scores(data: Path) -> pd.DataFrame:
    """Return the mean of both radiologists' scores, cases by zones."""
    table = pd.read_csv(data / "rois_brixia_zones.csv", dtype={"image_id": str})
    zone = table["side"].str.removesuffix("_lung") + " " + table["level"]
    score = table[["senior_score", "junior_score"]].mean(axis=1)
    return table.assign(zone=zone, score=score).pivot(index="image_id", columns="zone", values="score")


def zone_boxes(lungs: pd.DataFrame) -> pd.DataFrame:
    """Cut each lung's box in equal thirds."""
    rows = []
    for _, lung in lungs.iterrows():
        edges = np.linspace(lung["y_min"], lung["y_max"], len(LEVELS) + 1)
        side = str(lung["label"]).removesuffix("_lung")
        for level, top, bottom in zip(LEVELS, edges[:-1], edges[1:], strict=True):
            rows.append((lung["image_id"], f"{side} {level}", lung["x_min"], top, lung["x_max"], bottom))
    return pd.DataFrame(rows, columns=["case", "zone", *BOX]).drop_duplicates(["case", "zone"])


def print_agreement(data: Path, out: Path) -> None:
    """Print the AUROC of the located notes for each zone that the radiologists call involved."""
    study, root = load_study(out / "study.yaml")
    cohort = read_cohort(study.cohort, root).cohort
    rows, counts = locate_findings(cohort.privileged, cohort.findings, SCHEMES["six"], LOCATED)
    told = rows.pivot(index="case", columns="region", values="logit")
    scores = read_scores(data)
    scores = scores[scores.index.isin(cohort.cases.index)]
    patients = cohort.cases.loc[scores.index, "patient"].to_numpy()
    print(f"{len(scores)} images of {len(set(patients))} patients; {counts.located} statements with a place\n")
    print("| zone | involved | named in the note | AUROC of the note |\n|---|---|---|---|")
    for side, level in product(SIDES, LEVELS):
        zone = f"{side} {level}"
        said = told.reindex(scores.index)[[side, zone]]  # a side without a level speaks for its zones, less surely
        value = said[zone].fillna(0.5 * said[side]).fillna(0.0).to_numpy(float)
        involved = (scores[zone] >= INVOLVED).to_numpy(float)
        found = delong(value, involved, patients)
        estimate, low, high = found.interval()
        named = int((said[zone] > 0).sum())
        print(f"| {zone} | {int(involved.sum())} | {named} | {estimate:.2f} ({low:.2f} to {high:.2f}) |")


def print_maps(run_folder: Path, out: Path) -> None:
    """Print how much denser each arm's maps are in involved than in free zones: the mean log2 of the ratio."""
    study, root = load_study(out / "study.yaml")
    run = StudyRun(study, root, run_folder)
    work, free = run.work, read_cohort(_with_free(study.cohort), root).cohort
    positions = np.flatnonzero(work.cohort.cases.index.isin(work.cohort.rois["case"]) & work.cohort.in_split("test"))
    inside = {target.case: target for target in roi_targets(work.cohort, work.images, positions, 256)}
    outside = {target.case: target for target in roi_targets(free, work.images, positions, 256)}
    both = [case for case in inside if case in outside]
    row_of = {str(work.cohort.cases.index[position]): row for row, position in enumerate(positions)}
    patients, names = pd.factorize(np.array([inside[case].patient for case in both], dtype=object))
    counts = draw_counts(len(names), 2000, np.random.default_rng(0))
    by_seed = {}
    for arm in study.arms:
        values = []
        for seed in study.seeds:
            maps = read_maps(run.folder.cell(arm, seed).maps("patch"))
            column = maps.findings.index(FINDING)
            of_case = {case: maps.values[row_of[case], column] for case in both}
            canvases = [token_map_on_canvas(of_case[case], inside[case], work.images) for case in both]
            masks = [(inside[case].mask, outside[case].mask) for case in both]
            values.append([_contrast(canvas, *pair) for canvas, pair in zip(canvases, masks, strict=True)])
        by_seed[arm] = np.stack([mean_draws(np.array(one)[:, None], patients, counts)[0] for one in values])
    print(f"{len(both)} images of {len(names)} patients with involved and free zones, {len(study.seeds)} seeds\n")
    print("| arm | log2 density, involved to free | 'spatial' less this |\n|---|---|---|")
    for arm, draws in by_seed.items():
        own = seeds_by_patients(draws, len(names)).interval()
        gain = seeds_by_patients(by_seed["spatial"] - draws, len(names)).interval()
        shown = "" if arm == "spatial" else "{:+.2f} ({:+.2f} to {:+.2f})".format(*gain)
        print(f"| {arm} | {'{:+.2f} ({:+.2f} to {:+.2f})'.format(*own)} | {shown} |")


def _with_free(cohort: CohortSettings) -> CohortSettings:
    """Return the cohort with its free zones for ROIs."""
    data = cohort.to_data()
    return CohortSettings.from_data({**data, "rois": {**data["rois"], "table": "free.csv"}}, "free.csv")


def _contrast(found: np.ndarray, involved: np.ndarray, free: np.ndarray) -> float:
    values = found - found.min()
    least = 1e-3 * values.mean() + 1e-12
    return float(np.log2((values[involved].mean() + least) / (values[free].mean() + least)))


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("cohort", "maps"))
    parser.add_argument("source", type=Path, help="the data, or the run")
    parser.add_argument("out", type=Path, help="the cohort's folder")
    arguments = parser.parse_args()
    needed = arguments.source / ("manifest.csv" if arguments.what == "cohort" else "run.json")
    if not needed.is_file():
        parser.error(f"{needed}: not found; give the folder of chest_xray_notes, or that of the finished run.")
    if arguments.what == "cohort":
        write_cohort(arguments.source, arguments.out)
        print_agreement(arguments.source, arguments.out)
    else:
        print_maps(arguments.source, arguments.out)


if __name__ == "__main__":
    main()
