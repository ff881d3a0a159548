"""The text of an archive file; apart, since reading it wants nothing of what carries an archive out."""

from pathlib import Path

from ilcore.grammar.errors import BadInput


def text_of_archive(path: str | Path) -> str:
    """Return what an archive file says.

    Raises:
        BadInput: When it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"an archive must be a readable YAML file, got {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"an archive must be YAML, got {path}: {error}") from error
