"""German running text for `slt lm pretrain -r g2t/german`, from two packages of Debian, spelt as PHOENIX is.

    apt-get download fortunes-de manpages-de && for f in *.deb; do dpkg -x $f debian; done
    python tests/benchmarks/german_text.py debian data/german/german.txt

Lower case, a space before punctuation, a sentence a line, an empty line between paragraphs.
"""

import gzip
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_MACROS_THAT_END = (".PP", ".P", ".SH", ".TP", ".SS", ".IP", ".LP", ".RS", ".RE", ".EX", ".sp")


def main(packages: Path, out: Path) -> None:
    """Write the text of unpacked packages."""
    share = packages / "usr" / "share"
    fortunes = [path for path in (share / "games/fortunes/de").iterdir() if path.suffix not in (".dat", ".u8")]
    documents = [each for path in sorted(fortunes) for each in re.split(r"\n%\n", _decoded(path.read_bytes()))]
    pages = sorted((share / "man/de").rglob("*.gz"))
    documents += [each for path in pages for each in _paragraphs(gzip.decompress(path.read_bytes()).decode("utf-8"))]
    lines = ["\n".join(found) for each in documents if (found := _sentences(each))]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(f"{out}: {len(lines)} documents, {sum(line.count(chr(10)) + 1 for line in lines)} sentences\n")


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin1")


def _sentences(paragraph: str) -> list[str]:
    parts = re.split(r'(?<=[.!?])\s+(?=[A-ZÄÖÜ"„])', " ".join(paragraph.split()))
    spaced = (" ".join(re.sub(r"([.,;:!?]+)(?=\s|$)", r" \1", part.lower()).split()) for part in parts)
    return [sentence for sentence in spaced if len(sentence.split()) > 2]


def _paragraphs(page: str) -> Iterator[str]:
    """Yield the plain paragraphs of a manual page: no macros, fonts or special characters."""
    told: list[str] = []
    for line in [*page.split("\n"), ""]:
        if not line.strip() or line.startswith(_MACROS_THAT_END):
            yield " ".join(told)
            told = []
        elif not line.startswith((".", "'")):
            line = re.sub(r"\\f(\[[A-Z]*\]|.)|\\[&:]", "", line).replace("\\-", "-").replace("\\ ", " ")
            told.append(re.sub(r"\\\(..|\\\[[^\]]*\]|\\.", "", line))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
