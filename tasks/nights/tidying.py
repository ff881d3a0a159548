"""End a night by removing what runs left behind and nobody needs."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from ilcore.archives.cleaning import clean_archive
from tasks.nights.steps import Night


@task(name="tidy", cache_policy=NO_CACHE)
def tidy(night: Night) -> None:
    """Clean up after the runs of an archive, where it wants that; what stood in the way of it is noted."""
    if not night.archive.keep.is_cleaned:
        return
    try:
        clean_archive(night.archive)
    except OSError as error:
        night.meet(f"what runs left behind could not be removed: {error}")
