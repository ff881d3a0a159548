"""Pages in a real browser without a window: what it shows, what it logs, what people who cannot see would miss."""

import json
import os
import re
import shutil
import subprocess
import urllib.request
from html import unescape
from importlib import resources
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: Where CI runs, a browser is installed first (.ci/run): without one these tests fail there instead of being skipped.
needs_browser = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true",
    reason="no Chromium here: pages are not looked at in a browser; make browser installs Debian's",
)

#: A name that its owner points at this machine.
EVIL = "evil.example"
#: No other name but this machine's leads anywhere: a page that wants something from elsewhere is noticed.
_ALONE = f"--host-resolver-rules=MAP {EVIL} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"


def browse(address: str, *words: str, budget: int = 8000) -> "subprocess.CompletedProcess[str]":
    """Open a page, wait until its scripts have done what they want, and return what it has become and logged."""
    assert CHROMIUM, "no Chromium here, which .ci/run should have installed"
    return subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", _ALONE,
         f"--virtual-time-budget={budget}", *words, "--dump-dom", address],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip


def words_of(address: str) -> str:
    """Return the words of a page as the browser has built it."""
    return unescape(re.sub(r"<style.*?</style>|<[^>]+>", " ", browse(address).stdout, flags=re.DOTALL))


def problems(address: str, folder: Path) -> list[str]:
    """Return what the browser logs about a page, and which rules of accessibility (axe-core) it breaks."""
    logged = [
        line for line in browse(address).stderr.splitlines() if "CONSOLE" in line or "Content Security Policy" in line
    ]
    with urllib.request.urlopen(address) as answer:
        page = answer.read().decode()
    return logged + _broken_rules(page, folder)


def _broken_rules(page: str, folder: Path) -> list[str]:
    """Run axe-core in a copy of the page that may have scripts."""
    axe = (resources.files("axe_core_python") / "axe.min.js").read_text()
    page = re.sub(r"<meta http-equiv=[^>]*>", "", page)
    run = (
        "axe.run().then(r => { document.body.innerHTML = '<pre id=found></pre>';"
        "document.getElementById('found').textContent = JSON.stringify(r.violations.map(v => [v.id, v.help,"
        "v.nodes.map(n => n.html.slice(0, 120))])); });"
    )
    copy = folder / "page.html"
    copy.write_text(page.replace("</body>", f"<script>{axe}</script><script>{run}</script></body>"))
    found = re.search(r'<pre id="found">(.*?)</pre>', browse(copy.as_uri()).stdout, re.DOTALL)
    assert found, "axe-core has not run"
    return [": ".join(map(str, each)) for each in json.loads(unescape(found[1]))]
