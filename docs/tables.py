"""Markdown tables of finished runs, as they stand in docs/maps/phantom.md.

python docs/tables.py methods RUN_FOLDER      # every map method of the run's first arm beside all baselines
python docs/tables.py findings RUN_FOLDER     # the same finding by finding: energy enrichment and IoU
python docs/tables.py trust RUN_FOLDER        # faithfulness, stability, weights randomised
python docs/tables.py repeat RUN_FOLDER       # repeatability between seeds, and what ensembling changes
python docs/tables.py arms RUN_FOLDER         # what each arm changes against the reference arm
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from mmpkd.files import read_table
from mmpkd.folder import RunFolder

PRIORS = ("chance", "uniform", "centre-prior", "mean-roi-prior", "roi-on-grid")
UNLEARNED = ("untrained", "randomised")
PLACES = (("iou", "matched-area"), ("energy_enrichment", ""), ("pixel_auroc", ""), ("pointing", ""))


def main(words: Sequence[str]) -> None:
    """Print one table."""
    if len(words) != 2 or words[0] not in TABLES:
        raise SystemExit(__doc__)
    print("\n".join(TABLES[words[0]](RunFolder(Path(words[1])))))


def methods_table(folder: RunFolder) -> list[str]:
    """Return scores of every method, its gain over the mean-ROI prior, and what unlearned students score."""
    table = read_table(folder.comparison)
    table = table[table["finding"] == "macro"]
    arm = first_arm(table)
    lines = []
    for metric, policy in PLACES:
        rows = table[(table["metric"] == metric) & (table["policy"] == policy)]
        names = methods_of(rows)
        if not names:
            continue
        lines += ["", f"**{metric}{' at ' + policy if policy else ''}**", ""]
        lines += head("method", arm, "less mean-ROI prior", *UNLEARNED)
        for method in names:
            cells = [show(rows, kind="arm", arm=arm, method=method)]
            cells.append(show(rows, kind="difference", arm=arm, reference_arm="mean-roi-prior", method=method))
            cells += [show(rows, kind="baseline", arm=name, method=method) for name in UNLEARNED]
            lines.append(line(method, *cells))
        for name in PRIORS:
            lines.append(line(f"*{name}*", show(rows, kind="baseline", arm=name, method=names[0]), "", "", ""))
    return lines[1:]


def findings_table(folder: RunFolder) -> list[str]:
    """Return energy enrichment and matched-area IoU of every method and baseline, finding by finding."""
    table = read_table(folder.comparison)
    arm = first_arm(table)
    lines = []
    for metric, policy in PLACES[:2]:
        rows = table[(table["metric"] == metric) & (table["policy"] == policy) & ~table["finding"].isin(["pooled"])]
        findings = list(dict.fromkeys(rows["finding"]))
        if rows.empty:
            continue
        lines += ["", f"**{metric}{' at ' + policy if policy else ''}**", "", *head("", *findings)]
        names = methods_of(rows)
        for method in names:
            lines.append(line(method, *(show(rows, kind="arm", arm=arm, method=method, finding=f) for f in findings)))
        for name in PRIORS:
            blind = (show(rows, kind="baseline", arm=name, method=names[0], finding=f) for f in findings)
            lines.append(line(f"*{name}*", *blind))
    return lines[1:]


def trust_table(folder: RunFolder) -> list[str]:
    """Return faithfulness, stability, and the rank correlation of maps once all weights are shuffled."""
    table, sanity = read_table(folder.comparison), read_table(folder.sanity)
    arm = first_arm(table)
    rows = table[(table["finding"] == "macro") & (table["kind"] == "arm") & (table["arm"] == arm)]
    shuffled = sanity[(sanity["finding"] == "macro") & (sanity["metric"] == "spearman")]
    last = shuffled[shuffled["depth"] == shuffled["depth"].max()]
    metrics = ("deletion", "insertion", "faithfulness_gain", "shift_spearman", "noise_spearman")
    lines = head(
        "method", "deletion", "insertion", "gain over random order", "shifted", "noisy", "all weights shuffled"
    )
    for method in methods_of(rows):
        cells = [show(rows, metric=metric, method=method) for metric in metrics]
        lines.append(line(method, *cells, show(last, method=method)))
    return lines


def repeat_table(folder: RunFolder) -> list[str]:
    """Return the rank correlation of maps between seeds, of half ensembles, and what the mean map gains in place."""
    table, ensembles = read_table(folder.repeatability), read_table(folder.ensembles)
    rows = table[(table["finding"] == "macro") & (table["metric"] == "spearman")]
    iou = ensembles[(ensembles["finding"] == "macro") & (ensembles["metric"] == "iou")]
    iou = iou[iou["policy"] == "matched-area"]
    prior = iou[(iou["kind"] == "difference") & (iou["reference_arm"] == "mean-roi-prior")]
    places = ("IoU of the mean map", "gained over one seed", "less mean-ROI prior")
    lines = []
    for arm in dict.fromkeys(rows["arm"]):
        mine, own = rows[rows["arm"] == arm], iou[iou["arm"] == arm]
        lines += ["", f"**{arm}**", ""]
        lines += head("method", "two seeds", "unrelated", "excess", "half ensembles", "gain", *places)
        for method in methods_of(mine):
            kinds = ("seeds", "unrelated", "excess", "ensembles", "ensemble-gain")
            cells = [show(mine, kind=kind, method=method) for kind in kinds]
            cells += [show(own, kind=kind, method=method) for kind in ("ensemble", "ensemble-gain")]
            lines.append(line(method, *cells, show(prior, arm=arm, method=method)))
    return lines[1:]


def arms_table(folder: RunFolder) -> list[str]:
    """Return what every arm changes against the reference arm: AUROC, place, faithfulness, repeatability."""
    table, repeated = (read_table(path) for path in (folder.comparison, folder.repeatability))
    table, repeated = (one[one["finding"] == "macro"] for one in (table, repeated))
    differences = table[(table["kind"] == "difference") & ~table["reference_arm"].isin([*PRIORS, *UNLEARNED])]
    changes = repeated[(repeated["kind"] == "change") & (repeated["metric"] == "spearman")]
    excess = repeated[(repeated["kind"] == "excess") & (repeated["metric"] == "spearman")]
    arms = list(dict.fromkeys(differences["arm"]))
    reference = differences["reference_arm"].iloc[0]
    auroc = table[table["metric"] == "auroc"]
    lines = head("", reference, *(f"{arm} - {reference}" for arm in arms))
    cells = [show(auroc, kind="arm", arm=reference), *(show(auroc, kind="difference", arm=arm) for arm in arms)]
    lines.append(line("AUROC", *cells))
    for method in methods_of(table[table["metric"] == "iou"]):
        wanted = (*PLACES[:2], ("faithfulness_gain", ""), ("shift_spearman", ""))
        for metric, policy in wanted:
            rows = table[(table["metric"] == metric) & (table["policy"] == policy) & (table["method"] == method)]
            own = differences[(differences["metric"] == metric) & (differences["policy"] == policy)]
            cells = [show(rows, kind="arm", arm=reference), *(show(own, arm=arm, method=method) for arm in arms)]
            lines.append(line(f"{method}: {metric}", *cells))
        seeds = repeated[(repeated["kind"] == "seeds") & (repeated["metric"] == "spearman")]
        cells = [show(seeds, arm=reference, method=method), *(show(changes, arm=a, method=method) for a in arms)]
        lines.append(line(f"{method}: two seeds", *cells))
        cells = [show(excess, arm=a, method=method) for a in (reference, *arms)]
        lines.append(line(f"{method}: excess over unrelated, itself", *cells))
    return lines


TABLES: dict[str, Callable[[RunFolder], list[str]]] = {
    "methods": methods_table,
    "findings": findings_table,
    "trust": trust_table,
    "repeat": repeat_table,
    "arms": arms_table,
}


def first_arm(table: pd.DataFrame) -> str:
    """Return the arm that stands first."""
    return str(table.loc[table["kind"] == "arm", "arm"].iloc[0])


def methods_of(rows: pd.DataFrame) -> list[str]:
    """Return the map methods, in order; the ROI itself is none."""
    return [str(name) for name in dict.fromkeys(rows["method"]) if name not in ("", "roi")]


def show(rows: pd.DataFrame, **wanted: str) -> str:
    """Return the one estimate with its interval, bold where a difference leaves out 0."""
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    if rows.empty or pd.isna(rows["estimate"].iloc[0]):
        return "–"
    row = rows.iloc[0]
    signed = row["kind"] in ("difference", "excess", "change", "ensemble-gain")
    digits = 2 if row["metric"] == "energy_enrichment" else 3
    value = f"{row['estimate']:{'+' if signed else ''}.{digits}f}"
    if pd.isna(row["low"]):
        return value
    sure = signed and (row["low"] > 0 or row["high"] < 0)
    limits = f"({row['low']:.{digits}f} to {row['high']:.{digits}f})"
    return f"**{value}** {limits}" if sure else f"{value} {limits}"


def head(*names: str) -> list[str]:
    """Return the first two lines of a table."""
    return [line(*names), "|" + " --- |" * len(names)]


def line(*cells: str) -> str:
    """Return one line of a table."""
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main(sys.argv[1:])
