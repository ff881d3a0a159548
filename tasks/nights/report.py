"""Write the morning page beside the books of an archive."""

from collections.abc import Mapping
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.archives.books import Books
from ilcore.archives.morning import morning_page
from ilcore.stores.places import Place, make_folder, write_text

#: The newest page also has a name that never changes.
LAST = "last-night.html"


@task(name="morning page", cache_policy=NO_CACHE)
def write_morning_page(books: Books, night: Mapping[str, Any]) -> Place:
    """Write the page of a night, and return where it is."""
    earlier = [name for name in books.nights() if name < night["night"]]
    text = morning_page(night, earlier[-1] if earlier else None)
    folder = books.root / "mornings"
    make_folder(folder)
    for name in (f"{night['night']}.html", LAST):
        write_text(folder / name, text)
    return folder / LAST
