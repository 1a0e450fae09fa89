"""Published pruned mBART folders: their pickled tables become JSON, which the rest of the house reads (FACTS 6.1)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slt_pipeline.corpora.pickles import read_pickle
from slt_pipeline.errors import SltError
from slt_pipeline.files import json_line, read_json, write_text
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.text.tokenizer import ID_MAP_FILE, PUBLISHED_ID_MAPS, check_id_map

GLOSS_TABLE, GLOSS_IDS_FILE = "gloss2ids.pkl", "gloss2ids.json"


@dataclass(frozen=True, slots=True)
class MBartImport:
    """What an import wrote."""

    written: dict[Path, int]
    """Number of entries by file."""

    def lines(self) -> list[str]:
        """Return lines for the terminal."""
        return [f"{path}: {number} ids" for path, number in self.written.items()]


def import_mbart(folder: Path, *, overwrite: bool = False) -> MBartImport:
    """Write `map_ids.json` and `gloss2ids.json` beside the pickles of the same names, where `text.tokenizer` looks.

    Args:
        folder: the published folder.
        overwrite: replace a JSON table that says something else.

    Raises:
        SltError: a pickle asks for anything but plain data, or is no such table, or there is another table in JSON;
            then nothing is written.
    """
    tables = read_tables(folder)
    if not tables:
        raise SltError(
            f"{folder}: neither {', '.join(PUBLISHED_ID_MAPS)} nor {GLOSS_TABLE}; name a published mBART folder"
        )
    for path in (folder / name for name in tables if not overwrite):
        if path.is_file() and read_json(path) != json.loads(json_line(tables[path.name])):
            raise SltError(f"{path} is there and says something else than the pickle; add --overwrite to replace it")
    written = {}
    for name, table in tables.items():
        path = folder / name
        write_text(path, json_line(table))
        written[path] = len(table)
    return MBartImport(written)


def read_tables(folder: Path) -> dict[str, dict[Any, int]]:
    """Read the pickled tables that a published folder has, by the names that they get as JSON.

    Raises:
        SltError: a pickle asks for anything but plain data, or is no such table.
    """
    tables: dict[str, dict[Any, int]] = {}
    for name in PUBLISHED_ID_MAPS:
        if ID_MAP_FILE not in tables and (path := folder / name).is_file():
            tables[ID_MAP_FILE] = read_table(path, int)
            check_id_map(tables[ID_MAP_FILE], str(path))
    if (path := folder / GLOSS_TABLE).is_file():
        tables[GLOSS_IDS_FILE] = read_table(path, str)
        GlossVocabulary.from_dict(tables[GLOSS_IDS_FILE], f"gloss table {path}")
    return tables


def read_gloss_ids(folder: Path) -> dict[str, dict[Any, int]]:
    """Read the rows of a gloss table that a folder has, pickled or as JSON, by their name as JSON; empty without one.

    Raises:
        SltError: a pickle asks for anything but plain data, or a file is no such table.
    """
    pickled, path = read_tables(folder), folder / GLOSS_IDS_FILE
    if GLOSS_IDS_FILE in pickled or not path.is_file():
        return {name: table for name, table in pickled.items() if name == GLOSS_IDS_FILE}
    return {GLOSS_IDS_FILE: {name: number for number, name in enumerate(GlossVocabulary.load(path).names)}}


def read_table(path: Path, key: type) -> dict[Any, int]:
    """Read a pickled table from keys of a type to ids.

    Raises:
        SltError: it asks for anything but plain data, or is no such table.
    """
    table = read_pickle(path)
    if not isinstance(table, dict):
        raise SltError(f"{path}: expected a table {key.__name__} -> id, found {type(table).__name__}")
    for name, number in table.items():
        if type(name) is not key or type(number) is not int:
            raise SltError(f"{path}: expected a table {key.__name__} -> id, found {name!r} -> {number!r}")
    return table
