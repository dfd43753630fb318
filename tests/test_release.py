"""What is published with the package agrees with it."""

import re

import pytest
from places import ROOT

import captum_guided_ext

VERSION = captum_guided_ext.__version__


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\d+\.\d+\.\d+)$", text, re.MULTILINE)
    assert versions[0] == VERSION
    assert versions == sorted(versions, key=lambda one: [*map(int, one.split("."))], reverse=True)


def test_the_version_stands_in_one_place():
    files = [*ROOT.glob("*.toml"), *ROOT.glob("*.cff"), *(ROOT / "captum_guided_ext").rglob("*.py")]
    holding = [file.name for file in files if f'"{VERSION}"' in file.read_text(encoding="utf-8")]
    assert holding == ["pyproject.toml"]


def test_the_citation_is_whole():
    yaml = pytest.importorskip("yaml")
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "license"} <= set(said)
    for paper in said["references"]:
        assert {"type", "title", "authors", "year", "url"} <= set(paper)
        assert all({"family-names", "given-names"} <= set(author) for author in paper["authors"])
