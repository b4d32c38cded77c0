"""The command line: parses, calls, prints. Nothing is computed here, and nothing heavy imported before it is used."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mmpkd.errors import InputError
from mmpkd.progress import Progress

if TYPE_CHECKING:
    from mmpkd.study.run import StudyRun

app = typer.Typer(
    name="mmpkd",
    help="Train an image-only model with reports or metadata that only training has, and find out whether it helped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
Out = Annotated[Path | None, typer.Option(help="Run folder; runs/NAME of the study file by default.")]
Root = Annotated[
    list[Path] | None,
    typer.Option(help="Folder of the cohort's files, in place of `cohort.root`; of an archive, one or several."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, for logs.")]
Arms = Annotated[list[str] | None, typer.Option("--arm", help="Only this arm (may be repeated).")]
Variant = Annotated[str | None, typer.Option(help="Which variant, of a study file that holds several.")]
Place = Literal["here", "ray"]
On = Annotated[Place, typer.Option(help="Where students are trained: here, or on the machines of a Ray cluster.")]
Seeds = Annotated[list[int] | None, typer.Option("--seed", help="Only this seed (may be repeated).")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the phantom cohort and the run.")] = Path("demo"),
    quiet: Quiet = False,
) -> None:
    """Run the whole way on an embedded phantom cohort: a few minutes on two cores, nothing downloaded."""
    with _told_plainly():
        from mmpkd.study.demo import run_demo

        lines = run_demo(out, Progress(quiet))
        _print(lines)


@app.command()
def check(study: StudyFile, root: Root = None, variant: Variant = None, quiet: Quiet = False) -> None:
    """Print what is in the cohort, and every problem in it at once."""
    with _told_plainly():
        from mmpkd.cohort.check import format_summary
        from mmpkd.study.inputs import read_inputs, summarise_table
        from mmpkd.study.load import load_study

        settings, folder = load_study(study, root, _default_out(study).parent / "cohorts", Progress(quiet), variant)
        if settings.cohort.image is None:
            summary = summarise_table(settings, folder)
        else:
            summary = read_inputs(settings, folder, _default_out(study).parent / "cache", Progress(quiet)).summary
        _print([format_summary(summary)])


@app.command()
def run(
    study: StudyFile,
    out: Out = None,
    root: Root = None,
    variant: Variant = None,
    quiet: Quiet = False,
    on: On = "here",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost; run nothing.")] = False,
) -> None:
    """Run a study from images and privileged information to the report; a stopped run goes on where it was."""
    with _told_plainly():
        from mmpkd.study.variants import variant_names, write_variants

        names = variant_names(study) if variant is None else ()
        for name in names or (variant,):
            if names:
                _print([f"== {name}"])
            _run_one(_bind(study, out, root, quiet, name, on), dry_run)
        if names and not dry_run:
            _print([f"all variants: {write_variants(out or _default_out(study), names)}"])


def _run_one(bound: StudyRun, dry_run: bool) -> None:
    from mmpkd.study.plan import make_plan
    from mmpkd.study.summary import summary_lines

    if dry_run:
        train_cases = int(bound.table.cohort.in_split("train").sum())
        _print([*make_plan(bound.study, train_cases).lines(), f"run folder: {bound.folder.path}"])
        return
    report_path = bound.everything()
    _print([*summary_lines(bound.folder), f"report: {report_path}"])


@app.command()
def teach(study: StudyFile, out: Out = None, root: Root = None, variant: Variant = None, quiet: Quiet = False) -> None:
    """Fit the teacher and write its soft labels; needs no images."""
    with _told_plainly():
        from mmpkd.study.summary import teacher_lines

        bound = _bind(study, out, root, quiet, variant)
        with bound.claimed():
            bound.teach()
        _print([*teacher_lines(bound.folder), f"soft labels: {bound.folder.soft_labels}"])


@app.command()
def distil(
    study: StudyFile,
    out: Out = None,
    root: Root = None,
    variant: Variant = None,
    arm: Arms = None,
    seed: Seeds = None,
    quiet: Quiet = False,
    on: On = "here",
) -> None:
    """Train the students of all arms and seeds, or of those named."""
    _step("distil", study, out, root, variant, arm, seed, quiet, on)


@app.command()
def attribute(
    study: StudyFile,
    out: Out = None,
    root: Root = None,
    variant: Variant = None,
    arm: Arms = None,
    seed: Seeds = None,
    quiet: Quiet = False,
    on: On = "here",
) -> None:
    """Write the students' maps of the test cases that have an ROI."""
    _step("attribute", study, out, root, variant, arm, seed, quiet, on)


@app.command()
def evaluate(
    study: StudyFile,
    out: Out = None,
    root: Root = None,
    variant: Variant = None,
    arm: Arms = None,
    seed: Seeds = None,
    quiet: Quiet = False,
    on: On = "here",
) -> None:
    """Score the maps against the ROIs."""
    _step("evaluate", study, out, root, variant, arm, seed, quiet, on)


@app.command()
def compare(
    study: StudyFile, out: Out = None, root: Root = None, variant: Variant = None, quiet: Quiet = False
) -> None:
    """Compare the arms: estimates, intervals and the verdict."""
    with _told_plainly():
        from mmpkd.study.summary import summary_lines

        bound = _bind(study, out, root, quiet, variant)
        with bound.claimed():
            bound.compare()
        _print(summary_lines(bound.folder))


@app.command()
def diagnose(
    study: StudyFile, out: Out = None, root: Root = None, variant: Variant = None, quiet: Quiet = False
) -> None:
    """Look for the signs of known failures in a run, finished or not, and say what to do about each."""
    with _told_plainly():
        from mmpkd.study.summary import check_lines

        bound = _bind(study, out, root, quiet, variant)
        with bound.claimed():
            _print(check_lines(bound.diagnose()))


@app.command()
def report(run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]) -> None:
    """Write a run folder's report anew (also of a run that is not finished)."""
    with _told_plainly():
        from mmpkd.folder import RunFolder
        from mmpkd.report.build import write_report

        if not (run_folder / "run.json").is_file():
            raise InputError(f"{run_folder}: holds no run of mmpkd; give the folder that `mmpkd run` wrote.")
        _print([f"report: {write_report(RunFolder(run_folder))}"])


@app.command()
def lend(
    lender: Annotated[Path, typer.Argument(metavar="LENDER.yaml", help="The study whose teacher it is.")],
    borrower: Annotated[Path, typer.Argument(metavar="BORROWER.yaml", help="The study whose cases it labels.")],
    out: Annotated[Path, typer.Argument(metavar="TABLE.parquet", help="The soft labels, for a precomputed teacher.")],
    finding: Annotated[list[str] | None, typer.Option(help="OWN=THEIRS: which finding stands for which.")] = None,
    variant: Variant = None,
    quiet: Quiet = False,
) -> None:
    """Let one study's teacher label the cases of another, whose own labels it never sees."""
    with _told_plainly():
        from mmpkd.study.lend import lend as lend_labels

        cases = lend_labels(lender, borrower, out, finding or (), variant, Progress(quiet))
        _print([f"soft labels of {cases} cases: {out}"])


@app.command()
def predict(
    student: Annotated[Path, typer.Argument(metavar="STUDENT", help="A `student` folder of a run.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    maps: Annotated[Path | None, typer.Option(help="Also write each finding's map into this folder.")] = None,
    method: Annotated[str | None, typer.Option(help="Map method; by default the one of the student's head.")] = None,
    quiet: Quiet = False,
) -> None:
    """Print a trained student's probabilities for image files, as CSV."""
    with _told_plainly():
        from mmpkd.predict import predict_files

        table = predict_files(student, images, maps, Progress(quiet), method)
        _print([table.to_csv(index=False, float_format="%.4f").rstrip()])


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write the cohort.")],
    settings: Annotated[Path | None, typer.Option(help="YAML with the phantom's settings.")] = None,
    quiet: Quiet = False,
) -> None:
    """Write a phantom cohort with known truth: images, masks, reports, metadata and its description."""
    with _told_plainly():
        from mmpkd.cohort.phantom import PhantomSettings, write_phantom

        chosen = PhantomSettings.from_yaml(settings) if settings else PhantomSettings()
        _print([f"cohort: {write_phantom(chosen, out, Progress(quiet))}"])


@app.command()
def convert(
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE", help="Name of the archive; `list` prints them.")],
    roots: Annotated[list[Path] | None, typer.Argument(metavar="ROOT...", help="Folders that it lies in.")] = None,
    out: Annotated[Path | None, typer.Option(help="The cohort's folder; new or empty.")] = None,
    options: Annotated[Path | None, typer.Option(help="YAML with the converter's options.")] = None,
    quiet: Quiet = False,
) -> None:
    """Read an archive in place and write a cohort: tables, description and a NOTICE of all that was left out."""
    with _told_plainly():
        from mmpkd import registry
        from mmpkd.cohort.converters.convert import convert_archive
        from mmpkd.settings import read_yaml

        if archive == "list":
            names = registry.names("converters")
            _print([f"{name:<18} {registry.load('converters', name).title}" for name in names])
            return
        if not roots or out is None:
            raise InputError(
                "give the archive's folders and where to write: mmpkd convert ARCHIVE ROOT... --out COHORT."
            )
        chosen = read_yaml(options) if options else {}
        if not isinstance(chosen, dict):
            raise InputError(f"{options}: options are a mapping, `name: value` on each line.")
        written = convert_archive(archive, roots, out, chosen, Progress(quiet))
        _print([(written.parent / "NOTICE").read_text(encoding="utf-8"), f"cohort: {written}"])


@app.command()
def schema() -> None:
    """Print the JSON Schema of the study file (for editors and for checking)."""
    with _told_plainly():
        import json

        from mmpkd.study.load import study_schema

        _print([json.dumps(study_schema(), indent=2)])


def _step(
    name: str,
    study: Path,
    out: Path | None,
    root: list[Path] | None,
    variant: str | None,
    arms: list[str] | None,
    seeds: list[int] | None,
    quiet: bool,
    on: Place,
) -> None:
    with _told_plainly():
        bound = _bind(study, out, root, quiet, variant, on)
        with bound.claimed():
            bound.step(name, arms or (), seeds or ())
        _print([f"{name}: done, in {bound.folder.path / 'cells'}"])


def _bind(
    study: Path,
    out: Path | None,
    root: list[Path] | None,
    quiet: bool,
    variant: str | None = None,
    on: Place = "here",
) -> StudyRun:
    from mmpkd.study.load import load_study
    from mmpkd.study.run import StudyRun

    out = out or _default_out(study)
    settings, folder = load_study(study, root, out.parent / "cohorts", Progress(quiet), variant)
    if variant is None:
        return StudyRun(settings, folder, out, Progress(quiet), on)
    return StudyRun(settings, folder, out / variant, Progress(quiet), on, shelf=out / ".trained")


def _default_out(study: Path) -> Path:
    return Path("runs") / study.stem


@contextlib.contextmanager
def _told_plainly() -> Iterator[None]:
    """Print what the user did wrong, one sentence a problem, and exit with 2; with 130 when stopped."""
    try:
        yield
    except InputError as error:
        for problem in error.problems:
            sys.stderr.write(f"mmpkd: {problem}\n")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        sys.stderr.write("mmpkd: stopped; the same command goes on where it was.\n")
        raise typer.Exit(130) from None


def _print(lines: list[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> None:
    """Entry point of the ``mmpkd`` command."""
    app()
