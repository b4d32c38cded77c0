"""Every snippet of the pages about maps runs as it stands, and gives what the comment behind it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "maps"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[str]:
    """Return the page's snippets, each moved to its own line of the page so that a traceback names the place."""
    text = page.read_text(encoding="utf-8")
    return ["\n" * text[: found.start(1)].count("\n") + found[1] for found in _BLOCK.finditer(text)]


def run(source: str, namespace: dict[str, object], page: str) -> int:
    """Run one snippet; a bare expression's value is compared with the comment that follows it. Return how many."""
    lines, compared = source.split("\n"), 0
    for statement in ast.parse(source, page).body:
        said = _comment(lines, statement)
        if not isinstance(statement, ast.Expr) or said is None:
            exec(compile(ast.Module([statement], []), page, "exec"), namespace)  # noqa: S102 - our own pages
            continue
        value = eval(compile(ast.Expression(statement.value), page, "eval"), namespace)  # noqa: S307 - the same
        assert repr(value) == said, f"{page}, line {statement.end_lineno}"
        compared += 1
    return compared


def _comment(lines: list[str], statement: ast.stmt) -> str | None:
    """Return what stands behind a statement as a comment, on its last line or alone on the next."""
    behind = lines[statement.end_lineno - 1][statement.end_col_offset :].strip()
    after = lines[statement.end_lineno].strip() if statement.end_lineno < len(lines) else ""
    for comment in (behind, after):
        if comment.startswith("#"):
            return comment.removeprefix("#").strip()
    return None


@pytest.mark.parametrize(
    "page", [path for path in sorted(PAGES.glob("*.md")) if blocks(path)], ids=lambda path: path.stem
)
def test_every_snippet_runs_and_says_what_it_gives(page: Path) -> None:
    namespace: dict[str, object] = {"__name__": "snippet"}
    compared = sum(run(source, namespace, page.name) for source in blocks(page))
    assert compared >= 2


class TestTheReader:
    def test_a_wrong_comment_fails_with_its_place(self) -> None:
        with pytest.raises(AssertionError, match=r"page\.md, line 3"):
            run("\n\n1 + 1  # 3\n", {}, "page.md")

    def test_a_comment_on_the_next_line_counts_and_one_on_an_assignment_does_not(self) -> None:
        assert run("x = [1]  # yours\nx * 2\n# [1, 1]\n", {}, "page.md") == 1

    def test_blocks_of_other_languages_are_left_alone(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text("# page\n\n```yaml\na: 1\n```\n\n```python\nx = 1\n```\n")
        assert blocks(page) == ["\n" * 7 + "x = 1\n"]
