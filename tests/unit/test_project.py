"""What stands around the code is sound: citation, templates, hooks, changes, decision records, one version."""

import re
import shutil
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

import ilcore

ROOT = Path(__file__).parents[2]
DECISIONS = ROOT / "docs" / "decisions"
RECORDS = sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")
HEAD = re.compile(
    r"# (?P<number>\d{4}): (?P<title>.+)\n\n"
    r"Date: (?P<date>\d{4}-\d\d-\d\d)\. Status: (?P<status>accepted|superseded by (?P<next>\d{4}))\.\n"
)
SCHEMAS = {
    "vendor.citation-file-format": ("CITATION.cff",),
    "vendor.github-issue-forms": (".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/feature.yml"),
    "vendor.github-issue-config": (".github/ISSUE_TEMPLATE/config.yml",),
}


@pytest.mark.medium
@pytest.mark.parametrize("schema", SCHEMAS)
def test_citation_and_templates_are_valid(schema: str) -> None:
    files = [str(ROOT / name) for name in SCHEMAS[schema]]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_one_version() -> None:
    assert "version" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", ilcore.__version__)
    # A citation names what was released: there is an entry for it.
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert f"## {cited['version']} ({cited['date-released']})" in (ROOT / "CHANGELOG.md").read_text()


def test_the_version_is_known_in_a_source_tree_that_is_not_installed() -> None:
    code = (
        "import importlib.metadata as metadata\n"
        "def absent(name): raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = metadata.metadata = absent\n"
        "import ilcore; print(ilcore.__version__)"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == ilcore.__version__


def test_extras_that_are_told_to_install_are_declared() -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    image = re.search(r"'\.\[([\w,]+)\]'", (ROOT / "deploy/container/Dockerfile").read_text())
    assert image is not None
    assert {"run", "platform"} <= set(image[1].split(",")) <= declared
    told = [*ROOT.glob("*.md"), *ROOT.glob("deploy/*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("ilcore/**/*.py")]
    named = {extra for path in told for extra in re.findall(r"ilcore\[([a-z0-9]+)\]", path.read_text())}
    assert named
    assert named <= declared
    listed = set(
        re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`\w+`[`\w, ]*) \|", (ROOT / "README.md").read_text(), re.M)))
    )
    assert declared - {"dev"} <= listed


def test_a_bug_report_asks_for_what_the_doctor_finds() -> None:
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text())
    asked = {each["id"]: each for each in form["body"]}
    assert "il doctor" in asked["doctor"]["attributes"]["label"]
    assert asked["doctor"]["validations"]["required"]


def test_hooks_before_a_commit_fetch_nothing_and_do_what_make_check_does() -> None:
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert all(hook["language"] == "system" for hook in repository["hooks"])
    programs = {hook["entry"].split()[0] for hook in repository["hooks"]}
    checked = re.search(r"^check:.*\n\t(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert checked is not None
    assert programs == set(re.findall(r"\.venv/bin/[\w-]+", checked[1]))


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_decision_record_has_number_date_and_status_and_stands_in_the_list(record: Path) -> None:
    head = HEAD.match(record.read_text())
    assert head is not None, f"{record.name} must begin with '# NNNN: title', and 'Date: YYYY-MM-DD. Status: accepted.'"
    assert record.name.startswith(f"{head['number']}-")
    assert date.fromisoformat(head["date"]) >= date(2026, 11, 23)
    if head["next"]:
        assert [each for each in RECORDS if each.name.startswith(head["next"])]
    line = f"| [{head['number']}]({record.name}) | {head['title']} | {head['date']} | {head['status']} |"
    assert line in (DECISIONS / "README.md").read_text().splitlines()


def test_decision_records_are_numbered_without_gaps() -> None:
    assert [int(path.name[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))


KINDS = {
    each["directory"] for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]
}


@pytest.mark.parametrize("fragment", sorted((ROOT / "changes").iterdir()), ids=lambda path: path.name)
def test_a_fragment_is_one_sentence_or_two_and_of_a_known_kind(fragment: Path) -> None:
    if fragment.name == "README.md":
        assert all(f"`{kind}`" in fragment.read_text() for kind in KINDS)
        return
    named = re.fullmatch(r"(\+[a-z_]+|\d+)\.([a-z]+)(\.\d+)?\.md", fragment.name)
    assert named is not None, "changes/+WORD.KIND.md or changes/NUMBER.KIND.md"
    assert named[2] in KINDS
    [line] = fragment.read_text().splitlines()
    assert line.endswith(".")


@pytest.mark.medium
def test_the_changelog_takes_every_fragment_and_keeps_what_is_there(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "changes", tmp_path / "changes")
    (tmp_path / "changes" / "12.added.md").write_text("A thing of issue 12.\n")
    before = (tmp_path / "CHANGELOG.md").read_text()
    given = ("build", "--yes", "--version", "9.9.9", "--date", "2030-01-02", "--dir", str(tmp_path))
    subprocess.run([sys.executable, "-m", "towncrier", *given], cwd=tmp_path, capture_output=True, check=True)
    after = (tmp_path / "CHANGELOG.md").read_text()
    assert [path.name for path in (tmp_path / "changes").iterdir()] == ["README.md"]
    assert "## 9.9.9 (2030-01-02)" in after
    assert "- A thing of issue 12. (#12)" in after
    for fragment in (ROOT / "changes").glob("*.*.md"):
        assert f"- {fragment.read_text().strip()}" in after
    assert before[before.index("## 0.1.0") :] in after
