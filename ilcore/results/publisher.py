"""How a result takes the place of the one before it: by a rename, or where nothing can be renamed by one object."""

from dataclasses import dataclass
from typing import Protocol

from ilcore.results.generations import lead_to, new_generation, orphans, published_generation
from ilcore.stores.places import read_text, remove, store_of, write_text
from ilcore.stores.store import Place


class Publisher(Protocol):
    """Where a result lies while it is made, and after."""

    @property
    def staging(self) -> Place:
        """Return where the result in the making lies."""
        ...

    @property
    def published(self) -> Place:
        """Return where the levels of the published result lie."""
        ...

    def show_published(self) -> None:
        """Lead readers to the published result again."""
        ...

    def begin(self, fingerprint: str) -> None:
        """Choose where the result of a plan is made."""
        ...

    def forget_staging(self) -> None:
        """Note that nothing is in the making any more: what was is published."""
        ...

    def is_of(self, fingerprint: str) -> bool:
        """Tell whether what is made, or was published, may be that of a plan."""
        ...

    def orphans(self) -> list[Place]:
        """Return older results that no reader is led to."""
        ...


@dataclass(frozen=True)
class Renaming:
    """On a disk: the result is made beside the target, and gets its name in one step.

    Args:
        target: Where readers look.
        root: The folder of the run.
    """

    target: Place
    root: Place

    @property
    def staging(self) -> Place:
        return self.root / "staging.ome.zarr"

    @property
    def published(self) -> Place:
        return self.target

    def show_published(self) -> None:
        """Readers find it where it lies."""

    def begin(self, fingerprint: str) -> None:
        """It is always the same place."""

    def forget_staging(self) -> None:
        """The folder is gone, which says it."""

    def is_of(self, fingerprint: str) -> bool:
        # Nobody else can hold the lock of a disk.
        return True

    def orphans(self) -> list[Place]:
        return []


@dataclass(frozen=True)
class Leading:
    """In an object store: the result is a folder under the target, and a note says which one is in the making.

    Args:
        target: Where readers look.
        root: The folder of the run.
    """

    target: Place
    root: Place

    @property
    def note(self) -> Place:
        """Return where it says what is in the making."""
        return self.root / "generation"

    @property
    def staging(self) -> Place:
        try:
            return self.target / read_text(self.note)
        except FileNotFoundError:
            return self.target / "none"

    @property
    def published(self) -> Place:
        return published_generation(self.target)

    def show_published(self) -> None:
        lead_to(self.published, self.target)

    def begin(self, fingerprint: str) -> None:
        for place in orphans(self.target):
            remove(place)
        write_text(self.note, new_generation(self.target, fingerprint))

    def forget_staging(self) -> None:
        remove(self.note)

    def is_of(self, fingerprint: str) -> bool:
        # Nothing in the making: a published result is being repaired.
        place = self.staging if self.note.exists() else self.published
        return place.name.startswith(fingerprint[:8])

    def orphans(self) -> list[Place]:
        return orphans(self.target)


def publisher_of(target: Place, root: Place) -> Publisher:
    """Return how the result of a run takes its place, going by what the store can do."""
    return (Renaming if store_of(target).renames else Leading)(target, root)
