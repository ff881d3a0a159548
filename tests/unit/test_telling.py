"""People are told by web hook and by mail, and secrets stay where they are."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ilcore.grammar.errors import BadInput
from tasks.services.telling import ADDRESSES, addresses, tell
from tests.hook import hook


@contextmanager
def mail_server() -> Iterator[tuple[int, list[str]]]:
    """Yield the port of a mail server that takes one mail, and the lines it was sent."""
    lines: list[str] = []

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, connection.makefile("rwb") as talk:
            talk.write(b"220 here\r\n")
            talk.flush()
            is_data = False
            for raw in talk:
                line = raw.decode().rstrip("\r\n")
                lines.append(line)
                if is_data and line != ".":
                    continue
                is_data = line.upper() == "DATA"
                answer = b"354 go on" if is_data else b"221 bye" if line.upper() == "QUIT" else b"250 well"
                talk.write(answer + b"\r\n")
                talk.flush()
                if line.upper() == "QUIT":
                    return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=serve, args=(listening,), daemon=True)
        serving.start()
        yield listening.getsockname()[1], lines
        serving.join(10)


@pytest.mark.medium
def test_a_hook_and_a_mail_are_both_sent(monkeypatch):
    with hook() as (address, posted), mail_server() as (port, lines):
        mail = f"mailto://127.0.0.1:{port}?to=lab@example.org&from=il@example.org"
        monkeypatch.setenv(ADDRESSES, f"{address}  {mail}")
        assert tell("the night of cryo wants a look", ["no night began", "2 failed"]) == 2
    assert posted == [{"text": "the night of cryo wants a look\nno night began\n2 failed"}]
    text = "\n".join(lines)
    assert "<lab@example.org>" in text
    assert "the night of cryo wants a look" in text


@pytest.mark.medium
def test_one_address_that_fails_keeps_nothing_from_the_others(monkeypatch, capsys):
    with hook(500) as (bad, _), hook() as (good, posted):
        monkeypatch.setenv(ADDRESSES, f"{bad} http://127.0.0.1:1/secret {good}")
        assert tell("subject", []) == 1
    assert posted == [{"text": "subject"}]
    told = capsys.readouterr().err
    assert "address 1" in told
    assert "address 2" in told
    assert "secret" not in told


@pytest.mark.medium
def test_an_address_that_means_nothing_is_told_without_what_is_secret_in_it(monkeypatch):
    monkeypatch.setenv(ADDRESSES, "carrier-pigeon://password@home")
    with pytest.raises(BadInput, match="carrier-pigeon") as refused:
        addresses()
    assert "password" not in str(refused.value)


def test_nobody_is_told_where_nobody_wants_to_be(monkeypatch):
    monkeypatch.delenv(ADDRESSES, raising=False)
    assert tell("subject", ["words"]) == 0
