"""MIMIC-CXR's reports, read one study at a time from the zip or its unpacked folder, cut to the chosen sections."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.mimic_files import Found
from mmpkd.cohort.text import SectionFinder
from mmpkd.errors import InputError


class ReportReader:
    """Texts by study. Opens the zip once and keeps the places of its reports, never their texts.

    Args:
        found: Where the reports lie.
        sections: To keep, in this order (:class:`mmpkd.cohort.text.SectionFinder`); ``None`` keeps whole reports. A
            report without any of them is kept whole and counted.

    Raises:
        InputError: A zip that cannot be read.
    """

    def __init__(self, found: Found, sections: Sequence[str] | None) -> None:
        self._path = found.path
        self._finder = None if sections is None else SectionFinder(sections)
        self._zip: zipfile.ZipFile | None = None
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._read = self._absent = self._empty = self._whole = 0
        if found.zipped:
            try:
                self._zip = zipfile.ZipFile(found.path)
            except (zipfile.BadZipFile, OSError):
                raise self._damaged() from None
            names = ((info.filename.rpartition("/")[2], info) for info in self._zip.infolist())
            self._members = {name[:-4]: info for name, info in names if name.endswith(".txt")}

    def close(self) -> None:
        """Close the zip."""
        if self._zip is not None:
            self._zip.close()

    def texts(self, patients: Iterable[str], studies: Iterable[str]) -> np.ndarray:
        """Return the text of each study, ``None`` where it has no report; each study is asked for once.

        Raises:
            InputError: A report of the zip that cannot be unpacked.
        """
        return np.array([self._text(*ids) for ids in zip(patients, studies, strict=True)], dtype=object)

    def _text(self, patient: str, study: str) -> str | None:
        report = self._report(patient, study)
        if report is None:
            self._absent += 1
            return None
        self._read += 1
        if not report.strip():
            self._empty += 1
            return None
        if self._finder is None:
            return report.strip()
        chosen = self._finder.choose(report)
        self._whole += chosen is None
        return report.strip() if chosen is None else chosen

    def _report(self, patient: str, study: str) -> str | None:
        if self._zip is None:
            path = self._path / f"p{patient[:2]}" / f"p{patient}" / f"s{study}.txt"
            return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
        member = self._members.get(f"s{study}")
        if member is None:
            return None
        try:
            return self._zip.read(member).decode("utf-8", errors="replace")
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError):
            raise self._damaged() from None

    def _damaged(self) -> InputError:
        return InputError(f"{self._path.name}: is no whole zip file; download it anew.")

    def tell(self, ledger: Ledger) -> None:
        """Record what has been read so far."""
        ledger.count("reports read", self._read)
        ledger.count("studies without a report (their images stay, without text)", self._absent)
        ledger.count("empty reports (their images stay, without text)", self._empty)
        if self._finder is None:
            ledger.note("Reports are kept whole.")
        else:
            chosen = ", ".join(self._finder.sections)
            ledger.count(f"reports without any of the sections {chosen}, kept whole", self._whole)
            ledger.note(f"Of each report the sections {chosen} are kept, without their headings.")
