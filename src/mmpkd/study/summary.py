"""A run in a few lines of text, as the command line prints it at the end."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mmpkd.diagnose.check import Check
from mmpkd.files import read_json, read_table
from mmpkd.folder import RunFolder


def summary_lines(folder: RunFolder) -> list[str]:
    """Return the teacher, the table of arms (macro endpoints with intervals) and the verdict with its caveats."""
    comparison, verdict = read_table(folder.comparison), read_json(folder.verdict)
    lines = [*teacher_lines(folder), "", *_table(comparison), "", str(verdict["answer"])]
    lines += [f"  {sentence}" for sentence in verdict["sentences"]]
    lines += [f"  caveat: {caveat}" for caveat in verdict["caveats"]]
    return lines + _concerns(folder)


def check_lines(checks: Sequence[Check]) -> list[str]:
    """Return the checks of a diagnosis, each with its remedy where there is concern."""
    lines = []
    for check in checks:
        lines.append(f"{check.outcome:8s} {check.name:20s} {check.found}")
        if check.remedy:
            lines.append(f"{'':8s} {'':20s} -> {check.remedy}")
    return lines


def _concerns(folder: RunFolder) -> list[str]:
    checks = read_json(folder.diagnosis)["checks"] if folder.diagnosis.is_file() else []
    names = [check["name"] for check in checks if check["outcome"] == "concern"]
    if not names:
        return []
    return [
        f"  diagnosis: {len(names)} of {len(checks)} checks ask for attention ({', '.join(names)}); `mmpkd diagnose`."
    ]


def teacher_lines(folder: RunFolder) -> list[str]:
    """Return the teacher's discrimination per finding, with intervals; nothing if no teacher ran."""
    if not folder.teacher.is_file():
        return []
    record = read_json(folder.teacher)
    lines = [f"teacher ({record['kind']}), AUROC:"]
    for part, title in ((record, "training cases, out of fold"), (record.get("test", {}), "test cases")):
        rows = {**part.get("findings", {}), "macro": part.get("macro", {})}
        for name, row in rows.items():
            shown = _interval(row, "auroc")
            if row.get("reference_auroc") is not None:
                shown += f"   against reference labels {_interval(row, 'reference_auroc')}"
            if shown:
                lines.append(f"  {title:28s} {name:24s} {shown}")
    return lines + [f"  warning: {warning}" for warning in record.get("warnings", [])]


def _interval(row: dict[str, float | None], key: str) -> str:
    value, low, high = row.get(key), row.get(f"{key}_low"), row.get(f"{key}_high")
    if value is None:
        return ""
    return f"{value:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else "")


def _table(comparison: pd.DataFrame) -> list[str]:
    """Return arms as rows and macro endpoints as columns; differences below, baselines last."""
    macro = comparison[comparison["finding"] == "macro"]
    keys = [
        (metric, policy)
        for metric, policy in macro[["metric", "policy"]].drop_duplicates().itertuples(index=False)
        if metric in ("auroc", "energy_enrichment", "pointing")
        or (metric in ("iou", "fdr") and policy == "matched-area")
    ]
    titles = [metric + (f" ({policy})" if policy else "") for metric, policy in keys]
    lines = ["".join([f"{'':24s}", *(f"{title:>28s}" for title in titles)])]
    for kind in ("arm", "difference", "baseline"):
        rows = macro[macro["kind"] == kind]
        if kind == "difference":
            rows = rows[~rows["reference_arm"].isin(macro.loc[macro["kind"] == "baseline", "arm"])]
        for arm, of_arm in rows.groupby("arm", sort=False):
            name = f"{arm} - {of_arm['reference_arm'].iloc[0]}" if kind == "difference" else str(arm)
            cells = [_cell(of_arm, metric, policy) for metric, policy in keys]
            lines.append("".join([f"{name:24s}", *(f"{cell:>28s}" for cell in cells)]))
    return lines


def _cell(rows: pd.DataFrame, metric: str, policy: str) -> str:
    found = rows[(rows["metric"] == metric) & (rows["policy"] == policy)]
    if found.empty or pd.isna(found["estimate"].iloc[0]):
        return "-"
    row = found.iloc[0]
    sign = "+" if row["kind"] == "difference" else ""
    shown = f"{row['estimate']:{sign}.3f}"
    return shown if pd.isna(row["low"]) else f"{shown} ({row['low']:.3f} to {row['high']:.3f})"
