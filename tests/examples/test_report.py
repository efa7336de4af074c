from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from reference.report import write_report

CELLS = {"td", "th", "h1", "h2", "figcaption"}
VOID = {"meta", "img", "br", "!doctype"}


class Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "img":
            self.images.append(str(dict(attrs)["src"]))
        if tag in CELLS:
            self.cells.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if CELLS & set(self.open):
            self.cells[-1] += data


def test_everything_is_shown(tmp_path: Path) -> None:
    (tmp_path / "my views.png").touch()
    path = write_report(
        tmp_path,
        {"steps": 300, "model": {"dim": 64, "tasks": ["a"]}, "empty": {}},
        {"accuracy": {"model": 0.61234, "majority answer": 0.34}, "PSNR": 18.0, "n": 3, "none": {}},
        [("my views.png", "What was seen")],
        [("Where?", "left", "Left"), ("What?", "red", "blue")],
    )
    assert path == tmp_path / "report.html"
    page = Page(path)
    assert page.images == ["my%20views.png"]
    text = "|".join(cell.strip() for cell in page.cells)
    for part in (
        f"{tmp_path.name}|Figures||model|to compare with",
        "|accuracy|0.6123|majority answer: 0.34|PSNR|18||n|3||none||",
        "What was seen",
        "Where?|left|✓ Left|What?|red|✗ blue",
        "Config|option|value|steps|300|model.dim|64|model.tasks|['a']|empty|{}",
    ):
        assert part in text


def test_text_is_escaped(tmp_path: Path) -> None:
    evil, name = "<script>alert('&')</script>", 'a"b.png'
    (tmp_path / name).touch()
    path = write_report(
        tmp_path,
        {evil: evil},
        {evil: {"m": 1, evil: 2}},
        [(name, evil)],
        [(evil,) * 3],
        title=evil,
    )
    page = Page(path)
    assert "script" not in page.tags
    assert page.cells.count(evil) == 7
    assert page.images == ["a%22b.png"]


def test_an_empty_run_has_a_page_without_tables(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, {}, {}, []))
    assert page.cells == [tmp_path.name]
    assert "http" not in (tmp_path / "report.html").read_text()


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"pictures must be files in .*'bev\.png'"):
        write_report(tmp_path, {}, {}, [("bev.png", "from above")])
    assert not list(tmp_path.iterdir())
