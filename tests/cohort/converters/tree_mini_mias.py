"""A small mini-MIAS: 26 women, 52 films, Info.txt with its prose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

WOMEN = 26
CANARIES = ("canary.telephone", "canary-scanner-operator")
PROSE = """              MAMMOGRAPHIC IMAGE ANALYSIS SOCIETY
                  MiniMammographic Database

Email: canary.telephone@example.org
INFORMATION:

1st column: MIAS database reference number.

3rd column: Class of abnormality present:
                CALC - Calcification
                NORM - Normal

   Coordinate system origin is the bottom-left corner.

=================================================================

"""


def lines_of(woman: int) -> list[str]:
    """Return the lines of a woman's right film (odd number) and left film (even)."""
    right, left = f"mdb{2 * woman - 1:03d}", f"mdb{2 * woman:03d}"
    tissue = "FGD"[woman % 3]
    severity = "M" if woman % 4 == 0 else "B"
    circle = f" {300 + 10 * woman} {200 + 20 * woman} {60 + woman}"
    abnormal = {
        2: [f"{right} {tissue} CIRC B 400 300 64", f"{right} {tissue} SPIC M 600 700 48"],  # one benign, one malignant
        6: [f"{right} {tissue} CIRC B"],  # no circle
        8: [f"{right} {tissue} CALC M *NOTE 3*"],  # spread over the film
        10: [f"{right} {tissue} ASYM B 30 1000 64"],  # leaves the film to the left and above
    }
    normal = [f"{right} {tissue} NORM "]
    ill = abnormal.get(woman, [f"{right} {tissue} MISC {severity}{circle}"])
    return [*(normal if woman % 2 else ill), f"{left} {tissue} NORM "]


def write_film(path: Path, seed: int, side_px: int = 64) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (side_px, side_px), np.uint8)
    path.write_bytes(b"P5\n# canary-scanner-operator\n%d %d\n255\n" % (side_px, side_px) + pixels.tobytes())


def write_tree(folder: Path, side_px: int = 64, lines: list[str] | None = None) -> dict[str, Any]:
    """Write the archive; ``lines`` replaces those of the 26 women.

    52 films, the last without a file: 51 cases. 13 abnormal films; one with two circles, two with none: 12 boxes.
    """
    folder.mkdir(parents=True)
    rows = [line for woman in range(1, WOMEN + 1) for line in lines_of(woman)] if lines is None else lines
    (folder / "Info.txt").write_bytes((PROSE + "\n".join(rows) + "\n\n====\n").encode())
    films = list(dict.fromkeys(row.split()[0] for row in rows))
    for film in films[:-1] if lines is None else films:
        write_film(folder / f"{film}.pgm", int(film[3:]), side_px)
    return {
        "archive": "mini-mias",
        "roots": [folder],
        "canaries": CANARIES,
        "cases": 51,
        "rois": 12,
        "study": {"teach": {"teacher": "tabular", "folds": 3}},
    }
