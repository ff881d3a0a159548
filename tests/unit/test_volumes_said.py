"""What a source says is used, or kept, or its loss is told, or the source is refused; the page of formats is true."""

from pathlib import Path

from tests.bench.said import losses, table

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def test_nothing_is_lost_in_silence():
    assert losses() == []


def test_the_page_says_what_is_so():
    assert table() in PAGE.read_text()
