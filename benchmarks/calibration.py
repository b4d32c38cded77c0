"""Do our own intervals cover and our own tests err as often as they say? Simulated studies with known truth.

    python benchmarks/calibration.py [--studies 1000] [--replicates 1000]

Every study has patients with one to four images each, whose labels and difficulty they share, and two arms of
several seeds each, paired over cases. What varies between seeds is given as the ratio of the standard deviation over
seeds to the standard error over patients of one seed's difference. Coverage is over ``--studies`` studies; error rates
over four times as many. Markdown tables, with the Monte Carlo error of their cells; about eight minutes of one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import chain

import numpy as np
import pandas as pd
from scipy.stats import norm

from mmpkd.compare.bca import bca_interval, jackknife_counts
from mmpkd.compare.crossed import seeds_by_patients
from mmpkd.compare.delong import contrast, delong, delong_difference, macro_difference
from mmpkd.compare.equivalence import equivalence_of_draws, tost
from mmpkd.compare.intervals import Interval, mean_over_seeds, percentile_interval
from mmpkd.compare.multiplicity import holm
from mmpkd.compare.permutation import sign_flip
from mmpkd.compare.resample import discrimination_draws, draw_counts, mean_draws
from mmpkd.compare.statistics import Bootstrap
from mmpkd.compare.structural import auroc_covariance
from mmpkd.compare.tables import ArmValues, Labels, Score

QUALITY = 1.35  # distance of the classes in standard deviations of one class: AUROC 0.83
# Shares of a class's variance: what is hard about a patient and an image for all students; what an arm makes of an
# image in all its seeds; what each student alone makes of it.
PATIENT, IMAGE, ARM, STUDENT = np.sqrt([0.2, 0.3, 0.25, 0.25])
MARGIN = 0.05
# Patients, seeds, and the seeds' standard deviation over the patients' standard error.
SETTINGS = [*((100, s, r) for r in (0.5, 1.0, 3.0) for s in (3, 5)), (100, 10, 1.0), (100, 10, 3.0), (40, 5, 1.0)]
INTERVALS = ("percentile", "BCa", "seeds by patients, t (mmpkd's)")


def patients_of(rng: np.random.Generator, number: int) -> np.ndarray:
    """Return each case's patient."""
    return np.repeat(np.arange(number), rng.choice([1, 2, 3, 4], size=number, p=[0.4, 0.3, 0.2, 0.1]))


def readings(
    rng: np.random.Generator, patients: np.ndarray, quality: np.ndarray, prevalence: float = 0.35
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, and scores (cases, students) whose AUROC is Phi(quality / sqrt 2); half of them are one arm's."""
    number = patients[-1] + 1

    def effects(*shape: int) -> np.ndarray:
        return rng.normal(size=(len(patients), *shape))

    ill = norm.ppf(prevalence) + np.sqrt(0.5) * (rng.normal(size=number)[patients] + effects())
    labels = (ill > 0).astype(float)
    hard = PATIENT * rng.normal(size=number)[patients] + IMAGE * effects()
    arms = np.repeat(effects(2), (len(quality) + 1) // 2, axis=1)[:, : len(quality)]
    students = ARM * arms + STUDENT * effects(len(quality))
    return labels, labels[:, None] * quality + hard[:, None] + students


@cache
def standard_error(number: int) -> float:
    """Return the standard error over patients of the difference of two students' AUROCs, by simulation."""
    rng = np.random.default_rng(number)
    found = []
    for _ in range(1000):
        patients = patients_of(rng, number)
        labels, scores = readings(rng, patients, np.full(2, QUALITY))
        found.append(delong_difference(scores[:, 0], scores[:, 1], labels, patients).estimate)
    return float(np.std(found))


def auroc_study(rng: np.random.Generator, seeds: int, ratio: float, number: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return per-seed draws of arm less reference, and the same with each patient left out."""
    # The difference varies by sqrt 2 as much as one seed does, and dA/dquality is phi(q / sqrt 2) / sqrt 2.
    spread = ratio * standard_error(number) / norm.pdf(QUALITY / np.sqrt(2))
    patients = patients_of(rng, number)
    labels, scores = readings(rng, patients, QUALITY + spread * rng.normal(size=2 * seeds))
    counts = np.concatenate([draw_counts(number, REPLICATES, rng), jackknife_counts(number)[:, 1:]], axis=1)
    draws = discrimination_draws(scores, np.repeat(labels[:, None], 2 * seeds, axis=1), patients, counts)[0]
    return *np.split(draws[:seeds] - draws[seeds:], [REPLICATES + 1], axis=1), number


def localisation_study(
    rng: np.random.Generator, seeds: int, ratio: float, number: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the same of a skewed score per case, as IoU is; differences are of mean 0."""
    patients = patients_of(rng, number)
    cases = len(patients)
    difference = (rng.gamma(1.0, size=(number, 1)) - 1)[patients] + rng.gamma(1.0, size=(cases, seeds)) - 1
    weight = np.bincount(patients)
    error = np.sqrt((weight**2).sum() + cases) / cases
    difference = difference + ratio * error * rng.normal(size=seeds)
    counts = np.concatenate([draw_counts(number, REPLICATES, rng), jackknife_counts(number)[:, 1:]], axis=1)
    return *np.split(mean_draws(difference, patients, counts), [REPLICATES + 1], axis=1), number


def three_intervals(rng: np.random.Generator, draws: np.ndarray, left_out: np.ndarray, number: int) -> list[Interval]:
    """Return the intervals of the mean over seeds, as INTERVALS names them."""
    seeds = len(draws)
    together = mean_over_seeds(draws, draw_counts(seeds, REPLICATES, rng))
    without_patient, sample = left_out.mean(axis=0), draws[:, 0]
    without_seed = (sample.sum() - sample) / (seeds - 1)
    return [
        percentile_interval(together),
        bca_interval(together, without_patient, without_seed),
        seeds_by_patients(draws, number).interval(),
    ]


def coverage(studies: int) -> None:
    """Print the share of 95% intervals that hold the true difference of 0."""
    print("| endpoint | patients | seeds | seed SD / patient SE | " + " | ".join(INTERVALS) + " |")
    print("|---|---|---|---|" + "---|" * len(INTERVALS))
    for name, study in (("AUROC", auroc_study), ("mean score", localisation_study)):
        for number, seeds, ratio in SETTINGS:
            rng = np.random.default_rng([number, seeds, int(10 * ratio)])
            held = np.zeros(len(INTERVALS))
            for _ in range(studies):
                held += [i.low <= 0 <= i.high for i in three_intervals(rng, *study(rng, seeds, ratio, number))]
            cells = " | ".join(f"{100 * share:.1f}" for share in held / studies)
            print(f"| {name} | {number} | {seeds} | {ratio:g} | {cells} |", flush=True)
    print(f"\nMonte Carlo error of a cell: {100 * np.sqrt(0.95 * 0.05 / studies):.1f} (one standard error)\n")


def tests_of_auroc(rng: np.random.Generator) -> Iterator[tuple[str, Callable[[], float]]]:
    """Yield the name of each test without resampling, and a study of it that returns a p-value under the null."""
    alike = np.full(2, QUALITY)

    def clustered(number: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        patients = patients_of(rng, number)
        return *readings(rng, patients, alike), patients

    def against_half() -> float:
        labels, scores = readings(rng, np.arange(150), np.zeros(1))
        return delong(scores[:, 0], labels).p

    def single() -> float:
        labels, scores = readings(rng, np.arange(150), alike)
        return delong_difference(scores[:, 0], scores[:, 1], labels).p

    def paired(by_patient: bool, number: int = 100) -> float:
        labels, scores, patients = clustered(number)
        return delong_difference(scores[:, 0], scores[:, 1], labels, patients if by_patient else None).p

    def obuchowski_half(by_patient: bool) -> float:
        # A patient's images share label and score: the worst that forgetting patients can do.
        patients = patients_of(rng, 100)
        labels = (rng.random(100) < 0.4)[patients]
        scores = rng.normal(size=100)[patients] + 0.3 * rng.normal(size=len(patients))
        return delong(scores, labels, patients if by_patient else None).p

    def macro() -> float:
        patients = patients_of(rng, 100)
        found = [readings(rng, patients, alike) for _ in range(5)]
        labels = np.stack([labels for labels, _ in found], axis=1)
        first, second = (np.stack([scores[:, side] for _, scores in found], axis=1) for side in (0, 1))
        return macro_difference(first, second, labels, patients).p

    def family() -> float:
        patients = patients_of(rng, 100)
        found = [readings(rng, patients, alike) for _ in range(5)]
        p = [delong_difference(scores[:, 0], scores[:, 1], labels, patients).p for labels, scores in found]
        return float(holm(np.array(p)).min())

    yield "DeLong, one AUROC against 0.5, 150 patients", against_half
    yield "DeLong, paired, 150 patients", single
    yield "Obuchowski, one AUROC against 0.5, 100 patients", partial(obuchowski_half, True)
    yield "(the same by DeLong, patients forgotten)", partial(obuchowski_half, False)
    yield "Obuchowski, paired, 100 patients", partial(paired, True)
    yield "Obuchowski, paired, 40 patients", partial(paired, True, 40)
    yield "macro difference of 5 findings, 100 patients", macro
    yield "Holm over 5 findings, any rejection", family


def tests_that_resample(rng: np.random.Generator) -> Iterator[tuple[str, Callable[[], float]]]:
    """Yield the same of the tests that resample, and of equivalence; an interval without 0 counts as p = 0."""

    def flipped(number: int) -> float:
        patients = patients_of(rng, number)
        values = rng.laplace(size=number)[patients] + rng.laplace(size=len(patients))
        return sign_flip(values, patients, draws=999, seed=int(rng.integers(2**31))).p.item()

    def bootstrapped() -> float:
        patients = patients_of(rng, 100)
        labels, scores = readings(rng, patients, np.full(2, QUALITY))
        counts = draw_counts(100, REPLICATES, rng)
        draws = discrimination_draws(scores, np.repeat(labels[:, None], 2, axis=1), patients, counts)[0]
        interval = percentile_interval(draws[0] - draws[1])
        return float(interval.low <= 0 <= interval.high)

    def of_seeds(which: int) -> float:
        interval = three_intervals(rng, *auroc_study(rng, 5, 1.0, 100))[which]
        return float(interval.low <= 0 <= interval.high)

    def at_the_margin(of_draws: bool) -> float:
        patients = patients_of(rng, 300)
        better = np.sqrt(2) * norm.ppf(norm.cdf(QUALITY / np.sqrt(2)) + MARGIN)
        labels, scores = readings(rng, patients, np.array([better, QUALITY]))
        if not of_draws:
            found = contrast(auroc_covariance(scores, labels, patients), np.array([1, -1]))
            return tost(found.estimate, found.standard_error, MARGIN).p
        counts = draw_counts(300, REPLICATES, rng)
        draws = discrimination_draws(scores, np.repeat(labels[:, None], 2, axis=1), patients, counts)[0]
        return equivalence_of_draws(draws[0] - draws[1], MARGIN).p

    yield "sign flip by patient, 12 patients (exact)", partial(flipped, 12)
    yield "sign flip by patient, 100 patients (999 draws)", partial(flipped, 100)
    yield "bootstrap interval without 0, patients only, 100 patients", bootstrapped
    yield "hierarchical bootstrap without 0, 5 seeds (ratio 1)", partial(of_seeds, 0)
    yield "seeds by patients, t, 5 seeds (ratio 1)", partial(of_seeds, 2)
    yield f"TOST at the margin ({MARGIN:g}), Obuchowski, 300 patients", partial(at_the_margin, False)
    yield f"TOST at the margin ({MARGIN:g}), bootstrap, 300 patients", partial(at_the_margin, True)


def error_rates(studies: int) -> None:
    """Print how often each test at 0.05 rejects a true null."""
    print("| test | rejected, % |\n|---|---|")
    rng = np.random.default_rng(7)
    for name, p_of_study in chain(tests_of_auroc(rng), tests_that_resample(rng)):
        rejected = np.mean([p_of_study() <= 0.05 for _ in range(studies)])
        print(f"| {name} | {100 * rejected:.1f} |", flush=True)
    print(f"\nMonte Carlo error of a cell: {100 * np.sqrt(0.95 * 0.05 / studies):.1f} (one standard error)\n")


def check_against_the_study_path() -> None:
    """Refuse to report if `mmpkd.compare.statistics` would draw other intervals than this script does."""
    rng = np.random.default_rng(0)
    patients = patients_of(rng, 60)
    labels, scores = readings(rng, patients, np.full(3, QUALITY))
    names = Labels(pd.Index([f"case {case}" for case in range(len(patients))]), ("finding",), labels[:, None], patients)
    bootstrap = Bootstrap(names, REPLICATES, 0)
    arm = ArmValues((0, 1, 2), norm.cdf(scores).T[:, :, None])
    theirs = bootstrap.classification(arm)[Score("finding", "", "", "auroc")].draws
    counts = draw_counts(60, REPLICATES, np.random.default_rng([0, 0]))
    draws = discrimination_draws(scores, np.repeat(labels[:, None], 3, axis=1), patients, counts)[0]
    ours = mean_over_seeds(draws, draw_counts(3, REPLICATES, np.random.default_rng([0, 1, 0, 1, 2])))
    if not np.allclose(theirs, ours, rtol=0, atol=1e-12):
        raise SystemExit("the hierarchical bootstrap of this script is not that of mmpkd.compare.statistics.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Coverage and error rates of mmpkd's own statistics.")
    parser.add_argument("--studies", type=int, default=1_000)
    parser.add_argument("--replicates", type=int, default=1_000)
    given = parser.parse_args()
    REPLICATES = given.replicates
    start = time.process_time()
    check_against_the_study_path()
    error_rates(4 * given.studies)
    coverage(given.studies)
    print(f"{time.process_time() - start:.0f} s of one core")
