"""The words around the code: what they name exists, and what exists is named."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from appliance import cli
from appliance.settings import KEYS, validate_file

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
DEFAULT_FILE = ROOT / "config" / "default.toml"

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ROW = re.compile(r"^\| (`.+?) \|", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
VARIABLE = re.compile(r"DYNAMO_BOX_[A-Z0-9_]+[A-Z0-9]")


def documents() -> list[Path]:
    """Every Markdown file of the project."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    try:
        names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        names = ["README.md", "ARCHITECTURE.md", *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def commands_in(text: str) -> list[list[str]]:
    """The `dynamo-box …` command lines of a document, in its blocks and in its sentences; what explains them is left
    out: it stands after a `#` or, in a drawing, two blanks."""
    blocks = [re.split(r" # |\s{2,}", line.strip())[0] for line in text.splitlines() if line.startswith("    ")]
    lines = [line for line in [*blocks, *CODE.findall(text)] if re.match(r"(\.venv/bin/)?dynamo-box ", line)]
    return [shlex.split(line)[1:] for line in lines if "…" not in line]


def make_targets_in(text: str) -> set[str]:
    blocks = [line for line in text.splitlines() if line.startswith("    ")]
    found = [re.match(r"\s*make ([a-z-]+)", line) for line in [*blocks, *CODE.findall(text)]]
    return {match[1] for match in found if match}


def modules_in_rows() -> set[str]:
    return {name for row in ROW.findall(ARCHITECTURE) for name in CODE.findall(row)}


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    targets = [link.partition("#")[0] for link in LINK.findall(document.read_text()) if "://" not in link]
    missing = [target for target in targets if target and not (document.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_in_a_document_is_one_that_the_program_takes(document: Path) -> None:
    for words in commands_in(document.read_text()):
        assert cli.parse(words).command


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_make_target_in_a_document_is_in_the_makefile(document: Path) -> None:
    for target in make_targets_in(document.read_text()):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_options_passed_through_make_are_those_of_up() -> None:
    for line in re.findall(r'ARGS="([^"]+)"', README):
        assert cli.parse(["up", *shlex.split(line)]).command == "up"


def test_the_readme_names_every_command() -> None:
    commands = {*re.findall(r"^    ([a-z]+)\s", cli.build_parser().format_help(), re.MULTILINE)}
    assert commands >= {"up", "serve", "status", "stop", "doctor", "models", "config"}
    named = {words[0] for words in commands_in(README) if words}
    # `make run` is `up`; without a terminal that is `serve`.
    assert commands - named - {"up", "serve"} == set()


def test_every_make_target_is_listed_with_what_it_does() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    for target in phony.split():
        assert re.search(rf"^{target}:.*## .+$", MAKEFILE, re.MULTILINE), target


def test_every_variable_in_a_document_belongs_to_a_key() -> None:
    known = {f"DYNAMO_BOX_{key.upper().replace('.', '__')}" for key in KEYS} | {"DYNAMO_BOX_CONFIG"}
    for document in [*documents(), DEFAULT_FILE]:
        assert set(VARIABLE.findall(document.read_text())) <= known, document


def test_every_module_of_a_row_exists() -> None:
    missing = [name for name in modules_in_rows() if not (ROOT / "appliance" / name).exists()]
    assert missing == []


def test_every_file_named_in_the_life_of_a_request_exists() -> None:
    names = [name for name in CODE.findall(ARCHITECTURE) if re.fullmatch(r"[a-z_/]+(\.py|/)", name)]
    folders = ["appliance", "appliance/router", "appliance/api", "appliance/engine"]
    for name in names:
        assert any((ROOT / folder / name).exists() for folder in folders), name


def test_every_module_is_covered_by_a_row() -> None:
    modules = {path.name for path in (ROOT / "appliance").glob("*.py") if path.name != "__init__.py"}
    packages = {f"{path.parent.name}/" for path in (ROOT / "appliance").glob("*/__init__.py")}
    assert (modules | packages) - modules_in_rows() == set()


def test_the_default_file_is_valid() -> None:
    validate_file(DEFAULT_FILE, {})
