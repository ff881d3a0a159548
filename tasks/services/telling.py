"""Tell people: by web hook, by mail, and by whatever else Apprise has an address for.

IL_NOTIFY_URL holds addresses, parted by spaces: `https://hooks.example/...` is posted {"text": ...}, which Slack,
Mattermost and Teams show; `mailto://user:password@mail.example?to=lab@example.org` is a mail.
"""

import os
import sys
from collections.abc import Sequence

from ilcore.grammar.errors import BadInput

#: The environment variable.
ADDRESSES = "IL_NOTIFY_URL"
#: Seconds that a hook may take.
PATIENCE_SECONDS = 15


def addresses(given: str | None = None) -> list[str]:
    """Return where people want to be told.

    Args:
        given: Instead of what the environment says.

    Raises:
        BadInput: Naming an address that means nothing, without what is secret in it.
    """
    found = (os.environ.get(ADDRESSES, "") if given is None else given).split()
    for address in found:
        if not is_hook(address) and not _is_known(address):
            kind = address.partition("://")[0]
            raise BadInput(f"{ADDRESSES} wants addresses like https://... or mailto://..., got one of kind {kind!r}")
    return found


def is_hook(address: str) -> bool:
    """Tell whether an address is posted to as it is."""
    return address.startswith(("http://", "https://"))


def tell(subject: str, lines: Sequence[str], to: Sequence[str] | None = None) -> int:
    """Send words to addresses, or to those in IL_NOTIFY_URL; return how many were reached.

    Trouble goes to stderr, never on.
    """
    reached = 0
    for number, address in enumerate(addresses() if to is None else to, 1):
        try:
            _send(address, subject, lines)
            reached += 1
        except Exception as error:
            # Addresses hold secrets, and errors repeat addresses.
            sys.stderr.write(f"warning: address {number} of {ADDRESSES} was not reached ({type(error).__name__})\n")
    return reached


def _send(address: str, subject: str, lines: Sequence[str]) -> None:
    if is_hook(address):
        import requests

        text = "\n".join((subject, *lines))
        requests.post(address, json={"text": text}, timeout=PATIENCE_SECONDS).raise_for_status()
        return
    from apprise import Apprise

    told = Apprise()
    told.add(address)
    if not told.notify(title=subject, body="\n".join(lines) or subject):
        raise OSError("not delivered")


def _is_known(address: str) -> bool:
    from apprise import Apprise

    return bool(Apprise().add(address))
