"""Pages in a real browser without a window: what it shows, what it logs, what people who cannot see would miss."""

import json
import re
import shutil
import subprocess
import urllib.request
from html import unescape
from importlib import resources
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: pages are not looked at in a browser")

#: No name but this machine's leads anywhere: a page that wants something from elsewhere is noticed.
_ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def _browse(address: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", _ALONE,
         "--virtual-time-budget=8000", *words, "--dump-dom", address],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip


def words_of(address: str) -> str:
    """Return the words of a page as the browser has built it."""
    return unescape(re.sub(r"<style.*?</style>|<[^>]+>", " ", _browse(address).stdout, flags=re.DOTALL))


def problems(address: str, folder: Path) -> list[str]:
    """Return what the browser logs about a page, and which rules of accessibility (axe-core) it breaks."""
    logged = [
        line for line in _browse(address).stderr.splitlines() if "CONSOLE" in line or "Content Security Policy" in line
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
    found = re.search(r'<pre id="found">(.*?)</pre>', _browse(copy.as_uri()).stdout, re.DOTALL)
    assert found, "axe-core has not run"
    return [": ".join(map(str, each)) for each in json.loads(unescape(found[1]))]
