"""mBART folders: opened whole, checked against their own tokenizer, and written whole (FACTS 6.1)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from slt_pipeline import __version__
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.corpora.mbart_folder import GLOSS_IDS_FILE
from slt_pipeline.errors import SltError
from slt_pipeline.files import file_hash, read_json, replacing, replacing_folder, require_place, write_bytes, write_json
from slt_pipeline.models.gloss_table import EMBEDDINGS_FILE, read_gloss_embeddings
from slt_pipeline.models.mbart import require_mbart
from slt_pipeline.models.mbart_files import (
    CONFIG_FILE,
    TIED_NAMES,
    WEIGHTS_FILE,
    read_config,
    read_weights,
    shared_embedding,
    weight_files,
    with_rows,
)
from slt_pipeline.text.gloss_vocab import gloss_name
from slt_pipeline.text.tokenizer import ID_MAP_FILE, META_FILE, MODEL_FILE, Tokenizer
from slt_pipeline.text.tokenizer_json import tokenizer_files

ACCOUNT_FILE = "slt_mbart.json"
"""What was done to make a folder: hashes of its source and of the corpus, splits, versions."""
_GENERATION_FILE = "generation_config.json"
_START = "decoder_start_token_id"
_WRITTEN = frozenset(
    (
        *(ACCOUNT_FILE, CONFIG_FILE, WEIGHTS_FILE, MODEL_FILE, META_FILE, ID_MAP_FILE, EMBEDDINGS_FILE),
        *(_GENERATION_FILE, GLOSS_IDS_FILE, "tokenizer.json", "tokenizer_config.json"),
    )
)
"""Names of all that `MBartFolder.write` puts into a folder: it takes the place of no others."""


@dataclass(frozen=True)
class MBartFolder:
    """A Hugging Face mBART folder; weights are mapped from its files, not held in memory."""

    folder: Path
    config: Mapping[str, Any]
    state: Mapping[str, Tensor]
    tokenizer: Tokenizer
    generation: Mapping[str, Any] | None = None
    """Its defaults for generation, where they have a file of their own."""

    @classmethod
    def open(cls, folder: Path, language: str | None = None, id_map: Mapping[int, int] | None = None) -> "MBartFolder":
        """Read a folder, pruned or whole.

        Args:
            folder: with config.json, weights in one file or in shards, and a SentencePiece model.
            language: of its texts, in which generation starts from now on; None: as the folder says, else de_DE.
            id_map: of a pruned one that has none as JSON.

        Raises:
            SltError: a file is missing or damaged, weights, settings and tokenizer differ in their number of pieces, or
                weights and settings make no mBART.
        """
        config, state = dict(read_config(folder)), read_weights(folder)
        tokenizer = Tokenizer.load(folder, language, id_map)
        rows = shared_embedding(state, str(folder)).shape[0]
        if rows != tokenizer.vocab_size or config["vocab_size"] != rows:
            raise SltError(
                f"mBART folder {folder}: its weights have {rows} pieces, its config.json {config['vocab_size']}, its "
                f"tokenizer {tokenizer.vocab_size}; take all files from one place, of a pruned folder {ID_MAP_FILE} too"
            )
        require_mbart(folder, state)
        path = folder / _GENERATION_FILE
        generation = read_json(path) if path.is_file() else None
        if not isinstance(generation, dict | None):
            raise SltError(f"{path}: no settings by name; fetch it anew, or leave it out")
        for settings in (config, generation or {}):
            if language and (settings is config or _START in settings):
                settings[_START] = tokenizer.language_id
        return cls(folder, config, state, tokenizer, generation)

    def source(self) -> dict[str, str]:
        """Return the hashes of the files that were read, by name."""
        return {path.name: file_hash(path) for path in files_of(self.folder)}

    def gloss_vectors(self) -> dict[str, Tensor]:
        """Return the vectors (M,) of glosses that the folder has, which have nothing to do with its ids."""
        found = read_gloss_embeddings(self.folder, shared_embedding(dict(self.state), str(self.folder)).shape[1]) or {}
        return {name: vector.float().clone() for name, vector in found.items()}

    def with_ids(self, ids: list[int]) -> "MBartFolder":
        """Return the same model with these ids of its vocabulary alone, numbered anew in this order."""
        new = {old: number for number, old in enumerate(ids)}
        return MBartFolder(
            self.folder,
            {**_renumbered(self.config, new.get), "vocab_size": len(ids)},
            with_rows(dict(self.state), ids, str(self.folder)),
            self.tokenizer.with_ids(ids),
            self.generation and _renumbered(self.generation, new.get),
        )

    def write(
        self,
        to: Path,
        account: Mapping[str, Any],
        tables: Mapping[str, Any] | None = None,
        gloss_vectors: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write a folder that transformers and `translator.mbart.folder` load, all of it or nothing.

        Args:
            to: the folder; an earlier one is replaced.
            account: of what was done.
            tables: further JSON files, by name.
            gloss_vectors: of its glosses, by name.
        """
        tokenizer = self.tokenizer
        config = {_START: tokenizer.language_id, **self.config}
        files = {
            CONFIG_FILE: config,
            META_FILE: tokenizer.told,
            ID_MAP_FILE: tokenizer.id_map or {number: number for number in range(tokenizer.vocab_size)},
            **tokenizer_files(tokenizer, config.get("max_position_embeddings", 1024)),
            **({_GENERATION_FILE: self.generation} if self.generation else {}),
            **(tables or {}),
            ACCOUNT_FILE: {**account, "vocab_size": tokenizer.vocab_size, "slt": __version__},
        }
        with replacing_folder(to) as folder:
            write_tensors(folder / WEIGHTS_FILE, self.state)
            write_bytes(folder / MODEL_FILE, tokenizer.model)
            if gloss_vectors:
                write_tensors(folder / EMBEDDINGS_FILE, gloss_vectors)
            for name, content in files.items():
                write_json(folder / name, content)


def files_of(folder: Path) -> list[Path]:
    """Return the files that `MBartFolder.open` reads of a folder."""
    paths = [folder / CONFIG_FILE, *weight_files(folder), folder / MODEL_FILE]
    return [*paths, *(path for name in (ID_MAP_FILE, META_FILE, _GENERATION_FILE) if (path := folder / name).is_file())]


def write_mbart(
    to: Path,
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    account: Mapping[str, Any],
    gloss_vectors: Mapping[str, Tensor] | None = None,
) -> None:
    """Write an mBART, or a GPT-2, that was trained here, as a folder; arguments as of `MBartFolder.write`."""
    config = {name: value for name, value in model.config.to_dict().items() if value is not None}
    state = {name: value.contiguous().cpu() for name, value in model.state_dict().items() if name not in TIED_NAMES}
    whole = MBartFolder(to, {**config, _START: tokenizer.language_id}, state, tokenizer)
    whole.write(to, account, gloss_vectors=gloss_vectors)


def require_new_folder(to: Path, source: Path, overwrite: bool) -> None:
    """Refuse a folder that must not be written, before the work.

    Raises:
        SltError: it is there and may not be replaced: --overwrite replaces what this project has made, nothing else,
            and nothing that somebody has put beside it.
    """
    require_place(to, folder=True)
    if to.resolve() in (source.resolve(), *source.resolve().parents):
        raise SltError(f"--to {to} is {source}, which is read, or holds it; name another folder")
    if to.is_dir() and any(to.iterdir()):
        if not overwrite:
            raise SltError(f"{to} is there and is not empty; name another folder with --to, or add --overwrite")
        if not (to / ACCOUNT_FILE).is_file():
            raise SltError(f"{to} has no {ACCOUNT_FILE}, so that `slt lm` has not made it; name another folder")
        if beside := sorted(path.name for path in to.iterdir() if path.name not in _WRITTEN):
            raise SltError(
                f"{to} holds {beside[0]}, which `slt lm` has not written and which would be lost; move it, or "
                "name another folder"
            )


def write_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors under their names as safetensors, as transformers marks its files."""
    with replacing(path) as scratch:
        save_file(dict(state), scratch, metadata={"format": "pt"})


def corpus_sentences(manifest: Path, splits: tuple[str, ...]) -> tuple[list[str], dict[str, int]]:
    """Return what a corpus says, split by split and clip by clip, a clip's text before its glosses; and counts.

    Glosses are as their vocabulary names them, in lower case.

    Raises:
        SltError: a split has no clips, or all of them say nothing.
    """
    clips = [clip for split in dict.fromkeys(splits) for clip in load_clips(manifest, split)]
    said = [(clip.text, [gloss_name(gloss) for gloss in clip.gloss or ()]) for clip in clips]
    sentences = [sentence for text, glosses in said for sentence in (*([text] if text else []), *glosses)]
    if not sentences:
        raise SltError(f"{manifest}: no clip of {', '.join(splits)} has text or glosses; name other splits")
    texts = sum(bool(text) for text, _ in said)
    return sentences, {"clips": len(clips), "texts": texts, "glosses": len({g for _, glosses in said for g in glosses})}


def _renumbered(settings: Mapping[str, Any], new_id: Callable[[int], int | None]) -> dict[str, Any]:
    """Return settings of transformers with new ids; one that is left has none of a token that was pruned away."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found[name] = _renumbered(value, new_id)
        elif not name.endswith(("_token_id", "_token_ids")) or value is None:
            found[name] = value
        elif isinstance(value, list):
            found[name] = [new for old in value if isinstance(old, int) and (new := new_id(old)) is not None]
        elif isinstance(value, int) and (new := new_id(value)) is not None:
            found[name] = new
    return found
