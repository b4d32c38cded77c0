"""Paths of a table stay under the root, by whatever way they would leave it."""

from pathlib import Path

import pytest

from mmpkd.cohort.paths import ABSENT, INSIDE, OUTSIDE, locate


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.png").touch()
    (tmp_path / "secret.png").touch()
    (tmp_path / "root-sibling").mkdir()
    (tmp_path / "root-sibling" / "b.png").touch()
    (root / "link-in.png").symlink_to(root / "sub" / "a.png")
    (root / "link-out.png").symlink_to(tmp_path / "secret.png")
    (root / "folder-out").symlink_to(tmp_path / "root-sibling")
    (root / "loop.png").symlink_to(root / "loop.png")
    return root


@pytest.mark.parametrize(
    ("path", "state"),
    [
        ("sub/a.png", INSIDE),
        ("./sub/../sub/a.png", INSIDE),
        ("link-in.png", INSIDE),
        ("../secret.png", OUTSIDE),
        ("sub/../../secret.png", OUTSIDE),
        ("../root-sibling/b.png", OUTSIDE),
        ("../nowhere.png", OUTSIDE),
        ("link-out.png", OUTSIDE),
        ("folder-out/b.png", OUTSIDE),
        ("/etc/hostname", OUTSIDE),
        ("", ABSENT),
        ("sub", ABSENT),
        ("sub/none.png", ABSENT),
        ("no/such/folder/a.png", ABSENT),
        ("loop.png", ABSENT),
        ("a\0b.png", ABSENT),
    ],
)
def test_where_a_path_leads(root: Path, path: str, state: int):
    relative, states = locate([path], root)
    assert states.tolist() == [state]
    assert relative == [path]


def test_an_absolute_path_under_the_root_becomes_relative(root: Path):
    relative, states = locate([str(root / "sub" / "a.png")], root)
    assert relative == ["sub/a.png"]
    assert states.tolist() == [INSIDE]


def test_a_root_that_is_itself_a_link_holds_its_files(root: Path, tmp_path: Path):
    (tmp_path / "alias").symlink_to(root)
    assert locate(["sub/a.png"], tmp_path / "alias")[1].tolist() == [INSIDE]
