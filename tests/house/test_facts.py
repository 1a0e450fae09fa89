import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FACTS = ROOT / "slt_pipeline" / "FACTS.md"
FOLDERS = ("slt_pipeline", "cache", "recipes", "tests")
# `FACTS 6.3`, and lists of sections: `FACTS 2.2 and 2.3`, `FACTS 1.1, 1.4, 1.6`.
CITATION = re.compile(r"\bFACTS\s+(\d+(?:\.\d+)*(?:(?:,|,? and)\s+\d+\.\d+)*)")
INNER = re.compile(r"§(\d+(?:\.\d+)?)")  # §6.1.4 is point 4 of 6.1


def _sections(text: str) -> set[str]:
    return set(re.findall(r"^#+ (\d+(?:\.\d+)*)\.? ", text, re.MULTILINE))


def _cited(text: str) -> list[str]:
    return [number for found in CITATION.findall(text) for number in re.findall(r"\d+(?:\.\d+)*", found)]


def _texts() -> dict[str, str]:
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    paths = [path for path in [*ROOT.glob("*.md"), *paths] if path.suffix in (".py", ".md", ".yaml")]
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in paths
        if path not in (FACTS, Path(__file__).resolve())
    }


def test_every_citation_leads_to_a_section():
    sections = _sections(FACTS.read_text(encoding="utf-8"))
    cited = {(name, number) for name, text in _texts().items() for number in _cited(text)}
    assert len(cited) > 30
    assert sorted(f"{name}: FACTS {number}" for name, number in cited if number not in sections) == []


def test_every_reference_within_the_page_leads_to_a_section():
    text = FACTS.read_text(encoding="utf-8")
    assert [number for number in INNER.findall(text) if number not in _sections(text)] == []


def test_the_page_has_one_name():
    assert [name for name, text in _texts().items() if "facts.md" in text] == []


def test_the_page_stands_alone():
    """It names no file that a clone does not have; names in it are those of the published code and data."""
    assert re.findall(r"beside this file|\b[\w-]+\.csv\b|\bour text\b", FACTS.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("(FACTS 6.3)", ["6.3"]),
        ("FACTS 2.2 and 2.3: crop", ["2.2", "2.3"]),
        ("FACTS 1.1, 1.4, 1.6).", ["1.1", "1.4", "1.6"]),
        ("as FACTS\n9.4 says, 3 times", ["9.4"]),
        ("FACTS 4, 5 layers", ["4"]),
    ],
)
def test_citations_are_read_in_every_form(text, numbers):
    assert _cited(text) == numbers


def test_sections_are_read_from_headings():
    assert _sections("# x\n## 1. Data\n### 1.1 Format [data]\ntext 7.\n## 12. Quirks") == {"1", "1.1", "12"}
