"""Gloss classes and gloss inputs: a list of names, an id is a position in it (FACTS 1.5).

Two layouts are in use, and a trained system has one vocabulary of each:

* recognition: `<si>` 0 (the CTC blank), `<unk>` 1, `<pad>` 2, `</s>` 3, then the glosses by falling frequency;
* translation: `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, `<mask>` 4, zh_CN 5, de_DE 6, zh_CSL 7, de_DGS 8, then the
  glosses by first appearance. Its ids index the gloss table that feeds mBART.

Names are kept in lower case, as published, and in NFC. A gloss is one class however it was typed: a lookup asks for the
name itself, then for one that differs in case, white space or Unicode form alone. `decode` gives capitals, as glosses
are written and compared, and only such as are read back as the same class.
"""

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from slt_pipeline.config.written import read_json_text
from slt_pipeline.errors import SltError
from slt_pipeline.files import text_hash, write_text
from slt_pipeline.text.gloss_form import capitals, caseless, gloss_form
from slt_pipeline.text.normalise import nfc

BLANK = "<si>"
UNKNOWN = "<unk>"
"""What stands for a gloss that has no row."""
RECOGNITION_SPECIALS = (BLANK, UNKNOWN, "<pad>", "</s>")
TRANSLATION_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>", "zh_CN", "de_DE", "zh_CSL", "de_DGS")


class GlossVocabulary:
    """An immutable list of gloss names with their ids; `<unk>`, `<pad>` and `</s>` are always among them."""

    def __init__(self, names: Sequence[str]):
        self.names = tuple(names)
        self._ids = {name: index for index, name in enumerate(self.names)}
        if len(self._ids) != len(self.names):
            twice = next(name for name, count in Counter(self.names).items() if count > 1)
            raise SltError(f"gloss vocabulary: {twice!r} is listed twice; every gloss needs one id of its own")
        for special in ("<unk>", "<pad>", "</s>"):
            if special not in self._ids:
                raise SltError(
                    f"gloss vocabulary of {len(self.names)} names has no {special}; rebuild it from a manifest"
                )
        # Tables of others, and lists of before, may hold one gloss twice; the first, the more frequent, is meant.
        numbered = [*enumerate(self.names)][::-1]
        self._lookup = {_key(name): index for index, name in numbered} | {nfc(name): index for index, name in numbered}
        self.unk_id, self.pad_id, self.eos_id = (self._ids[name] for name in ("<unk>", "<pad>", "</s>"))

    @classmethod
    def build(
        cls,
        glosses: Iterable[Iterable[str] | None],
        layout: Literal["recognition", "translation"] = "recognition",
        language: str | None = None,
    ) -> "GlossVocabulary":
        """Make a vocabulary of a corpus.

        Args:
            glosses: Gloss sequences; `None` (a clip without glosses) counts for nothing.
            layout: Which specials come first, and in which order the glosses.
            language: Source language code that the translation layout does not already hold, e.g. `en_ASL`.
        """
        spellings: dict[str, Counter[str]] = {}
        for gloss in (gloss for sequence in glosses if sequence for gloss in sequence):
            spellings.setdefault(_key(gloss), Counter())[gloss_name(gloss)] += 1
        # The commonest spelling names a class, the first by the alphabet of those that are as common.
        names = {min(found, key=lambda name: (-found[name], name)): found.total() for found in spellings.values()}
        if layout == "recognition":
            specials = RECOGNITION_SPECIALS
            ordered = sorted(names, key=lambda name: (-names[name], name))
        else:
            extra = (language,) if language and language not in TRANSLATION_SPECIALS else ()
            specials = TRANSLATION_SPECIALS + extra
            ordered = list(names)
        return cls([*specials, *(name for name in ordered if name not in specials)])

    @classmethod
    def from_dict(cls, ids: Mapping[str, int], source: str = "gloss table") -> "GlossVocabulary":
        """Take a published `gloss -> id` table; its ids must be 0..n-1, each used once.

        Args:
            ids: the table.
            source: what errors call it.

        Raises:
            SltError: an id is missing, used twice or none.
        """
        if any(type(number) is not int for number in ids.values()) or sorted(ids.values()) != list(range(len(ids))):
            raise SltError(
                f"{source}: {len(ids)} glosses do not have the ids 0..{len(ids) - 1}, each once; fix the table"
            )
        return cls(sorted(ids, key=lambda name: ids[name]))

    @classmethod
    def load(cls, path: Path | str) -> "GlossVocabulary":
        """Read what `save` wrote, or a JSON object `gloss -> id`.

        Raises:
            SltError: it cannot be read, or is none.
        """
        path = Path(path)
        try:
            content = read_json_text(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            cure = "`slt visual-train` writes glosses.json, `slt gloss2text-train` gloss_inputs.json"
            if path.suffix == ".pkl":
                cure = f"`slt lm import {shlex.quote(str(path.parent))}` makes JSON of a published table"
            raise SltError(f"gloss vocabulary {path}: {error}; {cure}") from error
        if isinstance(content, dict):
            return cls.from_dict(content, f"gloss table {path}")
        if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
            raise SltError(f"gloss vocabulary {path}: expected a list of names or an object name -> id")
        return cls(content)

    def save(self, path: Path | str) -> None:
        """Write the names as a JSON list, one a line."""
        write_text(Path(path), json.dumps(self.names, ensure_ascii=False, indent=0) + "\n")

    def digest(self) -> str:
        """Return a SHA-256, in hex, of the names in order: what an id means."""
        return text_hash(json.dumps(self.names))

    def encode(self, glosses: Iterable[str]) -> list[int]:
        """Return the ids of glosses; one that has no class becomes `<unk>`."""
        return [self._find(gloss, self.unk_id) for gloss in glosses]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the glosses of ids in capitals; `names` holds the class names themselves."""
        return [self._written[index] for index in ids]

    @cached_property
    def _written(self) -> tuple[str, ...]:
        """How each class is written: `encode` finds it by that."""
        written = [(name, gloss_form(capitals(name))) for name in self.names]
        return tuple(large if self._find(large) == self._find(name) else name for name, large in written)

    def _find(self, gloss: str, default: int = -1) -> int:
        return self._lookup.get(gloss_name(gloss), self._lookup.get(_key(gloss), default))

    def id_of(self, name: str) -> int:
        """Return the id of a name as it stands, e.g. of the language code `de_DGS`.

        Raises:
            SltError: there is no such name.
        """
        if name not in self._ids:
            raise SltError(
                f"gloss vocabulary of {len(self.names)} names has no {name!r}; build it with that language code"
            )
        return self._ids[name]

    def __contains__(self, gloss: str) -> bool:
        return self._find(gloss) >= 0

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GlossVocabulary) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)


def gloss_name(gloss: str) -> str:
    """Return a gloss as names are kept."""
    return nfc(gloss_form(gloss).lower())


def _key(gloss: str) -> str:
    """Return what all spellings of a gloss have in common."""
    return caseless(gloss_form(gloss))
