"""Figures of experiments that are more than one report, from their run folders, with the numbers as Markdown.

python studies/figures.py sweep RUN sweep.png            a study of several λ and T: AUROC against localisation
python studies/figures.py spectrum OUT spectrum.png --study STUDY [--root ROOT]   teachers of different quality
python studies/figures.py controlled OUT controlled.png  the variants of studies/controlled.yaml
python studies/figures.py dose OUT dose.png              the variants of studies/zone-dose.yaml
python studies/figures.py cases RUN cases.png            a case of each finding, with the map of every arm
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from safetensors import safe_open

from mmpkd.cohort.read import read_cohort
from mmpkd.compare.statistics import Bootstrap, Draws
from mmpkd.compare.tables import Labels, Score, read_labels, read_predictions
from mmpkd.compare.threshold import helping_threshold
from mmpkd.errors import InputError
from mmpkd.evaluate.classification import MACRO
from mmpkd.files import read_json, read_table, written_whole
from mmpkd.folder import RunFolder
from mmpkd.report.overlays import image_with_roi, map_overlay
from mmpkd.study.comparison import test_labels
from mmpkd.study.load import load_study
from mmpkd.study.settings import StudySettings

DOSES = ("sides", "six", "twelve", "sixteen", "six-lungs", "six-lungs-anatomy", "six-lungs-long", "six-lungs-learned")


def sweep(run: Path) -> Figure:
    """Draw each arm's macro AUROC against its IoU, with intervals, and mark the Pareto set."""
    table = _macro(RunFolder(run))
    arms = table[table["kind"] == "arm"]
    auroc, iou = (_by_arm(arms[arms["metric"] == metric]) for metric in ("auroc", "iou"))
    best = pareto(auroc["estimate"].to_numpy(), iou["estimate"].to_numpy())
    figure, axes = _figure(6.4, 4.4)
    for number, arm in enumerate(auroc.index):
        x, y = auroc.loc[arm], iou.loc[arm]
        errors = {"xerr": _whiskers(x), "yerr": _whiskers(y)}
        marker, said = ("*", f"{arm} (Pareto)") if best[number] else ("o", str(arm))
        axes.errorbar(
            x["estimate"], y["estimate"], fmt=marker, elinewidth=0.8, color=f"C{number}", label=said, **errors
        )
    axes.legend(fontsize=8)
    axes.set(xlabel="AUROC, mean over findings", ylabel="IoU of map and ROI at matched area")
    _print(pd.DataFrame({"AUROC": _shown(auroc), "IoU": _shown(iou), "Pareto": np.where(best, "yes", "")}), "arm")
    return figure


def pareto(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Say which points no other point beats in one measure without losing in the other."""
    better = (first[:, None] <= first) & (second[:, None] <= second)
    strictly = (first[:, None] < first) | (second[:, None] < second)
    beaten: np.ndarray = (better & strictly).any(axis=1)
    return ~beaten


def spectrum(out: Path, study: Path, root: Path | None = None) -> Figure:
    """Draw the gain of `mmpkd` over `hard` against the teacher's AUROC, and where it starts to help.

    ``study`` is the file that the variants in ``out`` were run from, and ``root`` its cohort's folder (``--root``).
    """
    folders = _variants(out)
    settings, where = load_study(study, root, out.parent / "cohorts", variant=folders[0].path.name)
    labels = read_labels(test_labels(read_cohort(settings.cohort, where).cohort))
    gains = {folder: _gain(folder, settings, labels) for folder in folders}
    points = pd.DataFrame(
        [{"variant": f.path.name, "teacher": _quality(f), **gain.interval()._asdict()} for f, gain in gains.items()]
    )
    by_seed = [gain.draws[None] if gain.by_seed is None else gain.by_seed for gain in gains.values()]
    patients = next(iter(gains.values())).patients
    found = helping_threshold(points["teacher"].to_numpy(), np.stack(by_seed), patients)
    points = points.set_index("variant").sort_values("teacher")
    figure, axes = _figure(6.4, 4.0)
    axes.axhline(0, color="grey", linewidth=0.8)
    for number, (name, point) in enumerate(points.iterrows()):
        kind = str(name).partition("-")[0]
        marker = {"whole": "*", "patients": "o", "words": "s", "flipped": "^"}.get(kind, "o")
        axes.errorbar(point["teacher"], point["estimate"], _whiskers(point), fmt=marker, color=f"C{number}", label=name)
    seen = (found.quality >= points["teacher"].min()) & (found.quality <= points["teacher"].max())
    axes.plot(found.quality[seen], found.gain[seen, 0], color="black", linewidth=0.8)
    axes.fill_between(found.quality[seen], *found.gain[seen, 1:].T, color="grey", alpha=0.15)
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top + 0.25 * (top - bottom))
    axes.legend(fontsize=7, ncols=5, loc="upper center")
    axes.set(xlabel="AUROC of the teacher on test cases", ylabel="AUROC of 'mmpkd' less 'hard'")
    _print(pd.DataFrame({"teacher's AUROC": points["teacher"].map("{:.3f}".format), "gain": _shown(points)}), "teacher")
    print("\nslope {:.2f} ({:.2f} to {:.2f}) a unit of AUROC".format(*found.slope))
    low, high = ("open" if np.isnan(limit) else f"{limit:.3f}" for limit in found.crossing[1:])
    print(f"helps from a teacher's AUROC of {found.crossing.estimate:.3f} ({low} to {high})")
    return figure


def _gain(folder: RunFolder, settings: StudySettings, labels: Labels) -> Draws:
    """Return what `mmpkd` adds to the macro AUROC of `hard`, under the draws of patients that all variants share."""
    tables = [
        read_table(folder.cell(arm, seed).predictions).query("split == 'test'").assign(arm=arm, seed=seed)
        for arm in ("hard", "mmpkd")
        for seed in settings.seeds
    ]
    bootstrap = Bootstrap(labels, settings.compare.replicates, settings.compare.seed).among(*tables)
    arms = read_predictions(pd.concat(tables), bootstrap.labels)
    hard, mmpkd = (bootstrap.classification(arms[arm])[Score(MACRO, "", "", "auroc")] for arm in ("hard", "mmpkd"))
    return mmpkd.minus(hard)


def _quality(folder: RunFolder) -> float:
    """Return the teacher's macro AUROC on test cases, against reference labels where there are some."""
    record = read_json(folder.teacher)["test"]["macro"]
    return float(record["auroc" if record.get("reference_auroc") is None else "reference_auroc"])


def controlled(out: Path) -> Figure:
    """Draw, for each variant, the differences of every arm from `hard` in AUROC and in IoU."""
    folders = _variants(out)
    figure = Figure(figsize=(11, 0.6 + 0.3 * 9 * ((len(folders) + 1) // 2)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots((len(folders) + 1) // 2, 4, squeeze=False)
    ends: dict[str, list[float]] = {}
    for place, folder in enumerate(folders):
        table = _macro(folder)
        shown = {}
        for column, (metric, said) in enumerate((("auroc", "AUROC"), ("iou", "IoU"))):
            axes = grid[place // 2, 2 * (place % 2) + column]
            rows = table[(table["kind"] == "difference") & (table["metric"] == metric)]
            rows = _by_arm(rows[rows["reference_arm"] == "hard"])
            ends.setdefault(said, []).extend([rows["low"].min(), rows["high"].max()])
            shown[said] = _shown(rows, sign="+")
            at = np.arange(len(rows))[::-1]
            axes.axvline(0, color="grey", linewidth=0.8)
            axes.errorbar(rows["estimate"], at, xerr=_whiskers(rows), fmt="o", markersize=4, elinewidth=1)
            axes.set_yticks(at, rows.index if column == 0 else [""] * len(at), fontsize=8)
            axes.set_ylim(-0.6, len(rows) - 0.4)
            axes.set_xlabel(f"{said} less 'hard'", fontsize=8)
            axes.set_title(folder.path.name if column == 0 else "", fontsize=10, loc="left")
        hard = {name: _one(table, "arm", "hard", name.lower()) for name in shown}
        head = pd.DataFrame({name: _shown(pd.DataFrame([value])).to_list() for name, value in hard.items()}, ["hard"])
        print(f"\n{folder.path.name}\n")
        _print(pd.concat([head, pd.DataFrame(shown)]), "arm, less 'hard'")
    for column, (low, high) in enumerate((min(both), max(both)) for both in ends.values()):
        for axes in grid[:, column::2].ravel():  # one scale for all variants
            axes.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    for spare in grid.ravel()[2 * len(folders) :]:
        spare.remove()
    return figure


def dose(out: Path) -> Figure:
    """Draw each arm's IoU for each scheme of zones, and print what share of the headroom it takes."""
    folders = [folder for name in DOSES if (folder := RunFolder(out / name)).verdict.is_file()]
    if not folders:
        raise InputError(f"{out}: holds no finished variant of studies/zone-dose.yaml; run it first.")
    figure, axes = _figure(9.0, 3.6)
    shown: dict[str, dict[str, str]] = {}
    for place, folder in enumerate(folders):
        table = _macro(folder)
        scores = table[table["kind"].isin(["arm", "baseline"]) & (table["metric"] == "iou")]
        room = _by_arm(table[(table["kind"] == "headroom") & (table["metric"] == "iou")])
        own = _by_arm(scores)
        shown[folder.path.name] = {
            "IoU, text": _shown(own.loc[["spatial"]]).iloc[0],
            "IoU, perfect places": _shown(own.loc[["zone-truth"]]).iloc[0],
            "H, text": _shown(room.loc[["spatial"]]).iloc[0],
            "H, perfect places": _shown(room.loc[["zone-truth"]]).iloc[0],
            "AUROC, text": "{estimate:.3f} ({low:.3f} to {high:.3f})".format(**_one(table, "arm", "spatial", "auroc")),
        }
        for number, arm in enumerate(("hard", "spatial", "zone-truth", "roi-supervised")):
            point, label = own.loc[arm], arm if place == 0 else None
            at = place + 0.15 * (number - 1.5)
            axes.errorbar(at, point["estimate"], _whiskers(point), fmt="o", color=f"C{number}", label=label)
        prior = own.loc["mean-roi-prior", "estimate"]
        axes.plot([place - 0.35, place + 0.35], [prior, prior], "k--", label=None if place else "mean-ROI prior")
    axes.set_xticks(range(len(folders)), [folder.path.name for folder in folders], fontsize=9)
    axes.set_ylabel("IoU of map and ROI at matched area")
    axes.legend(fontsize=8, ncols=5, loc="upper center", bbox_to_anchor=(0.5, 1.15))
    _print(pd.DataFrame(shown).T, "zones")
    return figure


def cases(run: Path) -> Figure:
    """Draw the first example case of each finding of the report's gallery, with the map of each arm (first seed)."""
    path = RunFolder(run).gallery
    if not path.is_file():
        raise InputError(f"{path}: no gallery is here; `mmpkd run` writes one where the cohort has ROIs.")
    with safe_open(path, framework="np") as file:
        entries = json.loads(file.metadata()["gallery"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safetensors' file is no mapping)
    first = {entry["finding"]: index for index, entry in reversed(list(enumerate(entries)))}
    arms = list(entries[0]["probabilities"])
    figure = Figure(figsize=(1.5 * (1 + len(arms)), 1.55 * len(first) + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(rect=(0.02, 0, 0.98, 1))  # room for the findings' names
    grid = figure.subplots(len(first), 1 + len(arms), squeeze=False)
    for row, (finding, index) in enumerate(sorted(first.items(), key=lambda item: item[1])):
        image, roi = tensors[f"image/{index}"], tensors[f"roi/{index}"].astype(bool)
        pictures = [image_with_roi(image, roi, 220)]
        pictures += [map_overlay(image, tensors[f"map/{arm}/{index}"].astype(float), roi, 220) for arm in arms]
        for axes, picture, name in zip(grid[row], pictures, ["image and ROI", *arms], strict=True):
            axes.imshow(picture)
            axes.set_axis_off()
            axes.set_title(name if row == 0 else "", fontsize=9)
        left = grid[row, 0]
        left.text(-0.04, 0.5, finding, rotation=90, va="center", ha="right", fontsize=9, transform=left.transAxes)
    return figure


def _variants(out: Path) -> list[RunFolder]:
    folders = [RunFolder(path.parent) for path in sorted(out.glob("*/verdict.json"), key=lambda path: path.parent)]
    if not folders:
        raise InputError(f"{out}: holds no finished variant; `mmpkd run` a study file with variants first.")
    return folders


def _macro(folder: RunFolder) -> pd.DataFrame:
    table = read_table(folder.comparison)
    return table[(table["finding"] == MACRO) & table["policy"].isin(["", "matched-area"])]


def _by_arm(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop_duplicates("arm").set_index("arm")[["estimate", "low", "high"]]


def _one(table: pd.DataFrame, kind: str, arm: str, metric: str) -> dict[str, float]:
    rows = table[(table["kind"] == kind) & (table["arm"] == arm) & (table["metric"] == metric)]
    rows = rows[rows["reference_arm"].isin(["", "hard"])]
    return {name: float(rows.iloc[0][name]) for name in ("estimate", "low", "high")}


def _whiskers(row: pd.Series | pd.DataFrame) -> np.ndarray:
    below, above = row["estimate"] - row["low"], row["high"] - row["estimate"]
    return np.abs(np.stack([np.atleast_1d(below), np.atleast_1d(above)]))


def _shown(rows: pd.DataFrame, sign: str = "") -> pd.Series:
    return rows.apply(
        lambda row: f"{row['estimate']:{sign}.3f} ({row['low']:{sign}.3f} to {row['high']:{sign}.3f})", axis=1
    )


def _print(table: pd.DataFrame, index: str) -> None:
    print(f"| {index} | {' | '.join(table.columns)} |")
    print("|---" * (len(table.columns) + 1) + "|")
    for name, row in table.iterrows():
        print(f"| {name} | {' | '.join(map(str, row))} |")


def _figure(width: float, height: float) -> tuple[Figure, object]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


FIGURES: dict[str, Callable[[Path], Figure]] = {
    "sweep": sweep,
    "controlled": controlled,
    "dose": dose,
    "cases": cases,
}


def main() -> None:
    """Draw one figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("figure", choices=["spectrum", *FIGURES])
    parser.add_argument("run", type=Path, help="the run folder, or that of the variants")
    parser.add_argument("path", type=Path, help="the PNG to write")
    parser.add_argument("--study", type=Path, help="spectrum: the study file that was run")
    parser.add_argument("--root", type=Path, help="spectrum: the folder of its cohort, if `mmpkd run` was given one")
    arguments = parser.parse_args()
    if arguments.figure == "spectrum" and arguments.study is None:
        parser.error("spectrum needs --study: it reads the cohort's labels")
    try:
        if arguments.figure == "spectrum":
            figure = spectrum(arguments.run, arguments.study, arguments.root)
        else:
            figure = FIGURES[arguments.figure](arguments.run)
    except InputError as error:
        raise SystemExit(f"figures.py: {error}") from None
    with written_whole(arguments.path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
