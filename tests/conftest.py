"""What all tests share."""

from collections.abc import Iterator

import pytest

from tests.servers import PrefectServer


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """One real Prefect server for the whole session, since starting one takes a quarter of a minute."""
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    try:
        server.start_server()
        yield server
    finally:
        server.stop()
