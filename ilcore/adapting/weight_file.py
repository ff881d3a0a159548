"""Whether a weight file is there; apart, since telling that wants nothing of what reads it."""

import os

from ilcore.grammar.errors import BadWeights


def check_weight_file(path: str | os.PathLike[str]) -> None:
    """Refuse a weight file that is not there.

    Raises:
        BadWeights: In one sentence.
    """
    if not os.path.isfile(path):
        raise BadWeights(f"weights must be a file, got {path}; check the path or leave it out to use the shipped file")
