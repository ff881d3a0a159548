"""An option of a restoration is added in one place: command line, form, archives and flow are made from that."""

from typing import Annotated

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from flows.options import with_options
from flows.restore import restore_volume
from ilcore.grammar.errors import BadInput
from ilcore.planning.options import DOING, Asked, RestoreOptions

# Its flow is Prefect's.
pytestmark = pytest.mark.medium


class More(RestoreOptions):
    sharpness: Annotated[float, Asked(DOING, ("--sharpness", "-z"))] = Field(default=1.0, ge=0, description="how sharp")


def told(*words: str) -> RestoreOptions:
    """What a command gets of these words."""
    app, got = typer.Typer(), list[RestoreOptions]()

    @app.command()
    @with_options(More)
    def restore(source: str, *, options: RestoreOptions, workers: int = 0) -> None:
        got.append(options)

    result = CliRunner().invoke(app, [*words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return got[0]


def test_a_new_option_is_on_the_command_line() -> None:
    assert told("scan.tif", "-z", "2.5") == More(sharpness=2.5)
    assert told("scan.tif", "--workers", "3") == More()


def test_a_new_option_is_of_the_mapping_that_an_archive_holds() -> None:
    assert More.of({"sharpness": 2, "method": "nlm"}) == More(method="nlm", sharpness=2.0)
    with pytest.raises(BadInput, match="sharpness must be >= 0, got -1"):
        More.of({"sharpness": -1})
    with pytest.raises(BadInput, match="can be told method, .*; got sharpness"):
        RestoreOptions.of({"sharpness": 1})


def test_what_is_written_on_the_command_line_becomes_what_is_held() -> None:
    words = "scan.tif -s stop.rule=vote -s x=1e-3 --steps 7 --tile 16,16 --gate seams=:3 --format 0.4 --noise-std 0.1"
    assert told(*words.split()) == More(
        overrides={"stop.steps": 7, "stop.rule": "vote", "x": "1e-3"}, tile=(8, 16, 16),
        gate={"seams": (float("-inf"), 3.0)}, result_format="ome-zarr 0.4", noise_std=0.1,
    )  # fmt: skip


def test_the_form_on_prefects_pages_shows_every_option_with_its_words() -> None:
    form = restore_volume.parameters.definitions["RestoreOptions"]["properties"]
    assert set(form) == set(RestoreOptions.model_fields)
    assert all(field["description"] for field in form.values())


def test_other_values_of_the_same_options() -> None:
    asked = RestoreOptions(method="nlm", level=2)
    assert asked.but(level=0) == RestoreOptions(method="nlm")
    with pytest.raises(BadInput, match="scope must be 'tile' or 'volume'|scope must be tile or volume"):
        asked.but(scope="whole")
