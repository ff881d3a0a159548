"""What all tests share."""

import uuid
from collections.abc import Iterator

import pytest
import s3fs

from tests.s3 import S3Server
from tests.servers import PrefectServer

#: Clients of the S3 server's tests; kept, since they complain when they are forgotten.
CLIENTS: dict[str, object] = {}
#: What made the fixtures is kept to be read; it fits the version that it was run at, and no later one.
collect_ignore = ["fixtures"]


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """One real Prefect server for the whole session, since starting one takes a quarter of a minute."""
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    try:
        server.start_server()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One real S3 server for the tests of this process, started when the first of them wants it."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    try:
        server.restart()
        yield server
    finally:
        server.kill()


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place in the server's store that is this test's own; credentials are in the environment."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    # A client is known by its options alone: one that another test made asks another endpoint.
    monkeypatch.setattr(s3fs.S3FileSystem, "_cache", CLIENTS)
    return f"s3://{s3_server.bucket}/{uuid.uuid4().hex[:8]}"
