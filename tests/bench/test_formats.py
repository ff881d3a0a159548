"""What the page of the formats says is measured."""

from tests.bench.formats import PAGE, page


def test_the_tables_of_the_formats_are_those_that_are_measured():
    written = PAGE.read_text()
    assert page(written) == written, "docs/formats.md is stale: run make docs"
