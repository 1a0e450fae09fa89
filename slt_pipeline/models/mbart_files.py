"""The files of a Hugging Face mBART folder: settings, and weights in one file or in shards, mapped and not copied."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from slt_pipeline.config.translator import LANGUAGE_MODELS, LanguageModelName
from slt_pipeline.errors import SltError, refused_by_torch
from slt_pipeline.files import read_json

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
_WEIGHTS_FILES = (
    *(WEIGHTS_FILE, "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
_SHARED = "model.shared.weight"
# the text embedding under its other names
TIED_NAMES = ("lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")


def read_config(folder: Path, kind: LanguageModelName = "mbart") -> dict[str, Any]:
    """Read the whole config.json of the folder of an mBART, or another kind of model.

    Raises:
        SltError: it cannot be read, is of another kind of model, or says no size of vocabulary.
    """
    of = f"{LANGUAGE_MODELS[kind]} folder {folder}"
    try:
        raw = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SltError(f"{of}: config.json cannot be read ({error}); name a Hugging Face folder of one") from error
    said = raw.get("model_type") if isinstance(raw, dict) else None
    if said != kind:
        raise SltError(f"{of}: model_type is {said!r}, not {kind!r}; name another folder")
    if "vocab_size" not in raw:
        raise SltError(f"{of}: config.json has no vocab_size; name a complete Hugging Face folder of one")
    return raw


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a folder's weights: one, or an index and its shards.

    Raises:
        SltError: there are none, or the index names what is not there or not beside it.
    """
    path = next((folder / name for name in _WEIGHTS_FILES if (folder / name).is_file()), None)
    if path is None:
        raise SltError(
            f"folder {folder}: neither model.safetensors nor pytorch_model.bin; fetch or convert the weights"
        )
    if path.suffix != ".json":
        return [path]
    index = read_json(path)
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise SltError(f"{path}: no weight_map of names to files; fetch it anew")
    shards = [folder / name for name in sorted(set(names.values()))]
    for shard in shards:
        if shard.parent != folder or not shard.is_file():
            raise SltError(f"{path} names {shard.name}, which is not beside it; fetch all files of the folder")
    return [path, *shards]


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read all weights of a folder; what is in its files is mapped, so that nothing is in memory before it is used.

    Raises:
        SltError: a file is missing or damaged, or an index promises a tensor that no shard has.
    """
    index, *shards = weight_files(folder)
    if not shards:
        return read_tensors(index)
    state = {name: tensor for shard in shards for name, tensor in read_tensors(shard).items()}
    if lost := sorted(read_json(index)["weight_map"].keys() - state.keys()):
        raise SltError(
            f"{index}: {len(lost)} tensors are in no shard, such as {lost[0]}; fetch all files of the folder"
        )
    return state


def copy_strictly(model: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Copy weights into a model, all that it has and no others; `what` begins the message.

    Raises:
        SltError: names or shapes differ.
    """
    _require_same(model.state_dict(), state, what)
    model.load_state_dict(state)


def require_fitting(
    build: Callable[[], nn.Module], state: Mapping[str, Tensor], what: str, layers: Mapping[str, int]
) -> None:
    """Refuse weights that are not those of a model, or are no numbers, before there is memory for it.

    Args:
        build: builds the model of a config.json.
        state: all weights of the same folder.
        what: begins the message.
        layers: how many config.json says that there are, by its keys.

    Raises:
        SltError: config.json makes no model, names or shapes differ, or a tensor has values that are not finite.
    """
    for key, count in layers.items():
        if count > len(state):
            raise SltError(f"{what}: {len(state)} tensors, and config.json says {key} = {count}; fetch both anew")
    try:
        with torch.device("meta"):
            model = build()
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise SltError(f"{what}: their config.json makes no model ({reason}); fetch it anew") from error
    _require_same(model.state_dict(), state, what)
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise SltError(f"{what}: {name} has values that are not finite; fetch it anew")


def require_types(settings: Mapping[str, Any], defaults: object, of: str) -> None:
    """Refuse settings of a config.json that are of another type than their defaults, or sizes that are none.

    Raises:
        SltError: the key and its value.
    """
    for key, value in settings.items():
        usual = getattr(defaults, key)
        if usual is None and value is None:
            continue
        usual = 1 if usual is None else usual  # a size that goes without saying
        kinds = (int, float) if isinstance(usual, float) else type(usual)
        if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(usual, bool)):
            wanted = {int: "a whole number", float: "a number", bool: "true or false"}.get(type(usual), "a name")
            raise SltError(f"{of}: config.json says {key} = {json.dumps(value)}, which is not {wanted}; fetch it anew")
        if type(value) is int and value < 1 and isinstance(usual, int):
            raise SltError(f"{of}: config.json says {key} = {value}, which is no size; fetch it anew")


def _require_same(own: Mapping[str, Tensor], state: Mapping[str, Tensor], what: str) -> None:
    missing, extra = own.keys() - state.keys(), state.keys() - own.keys()
    if missing or extra:
        name = min(missing or extra)
        raise SltError(f"{what}: {len(missing)} missing, {len(extra)} unknown, e.g. {name}; sizes or format differ")
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise SltError(
                f"{what}: {name} is {tuple(value.shape)}, the model has {tuple(own[name].shape)}; use the config.json "
                "and tokenizer of the same folder"
            )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors or a torch file of named tensors; nothing else in a torch file is loaded.

    Raises:
        SltError: it is damaged or holds something else.
    """
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _read_torch(path)
    except UnpicklingError as error:
        raise SltError(
            f"weights {path}: refused: {refused_by_torch(error)}; only tensors are read from it: fetch it anew"
        ) from None
    except Exception as error:  # of damaged bytes torch and safetensors raise almost anything
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise SltError(f"weights {path}: not a file of named tensors ({reason}); fetch it anew") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise SltError(f"weights {path}: not a file of named tensors (it holds something else); fetch it anew")
    return state


def _read_torch(path: Path) -> Any:
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"  # the format of before torch 1.6 cannot be mapped
    return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)


def shared_embedding(state: dict[str, Tensor], source: str) -> Tensor:
    """Return the text embedding (V, M) of a state dict of transformers' names, under whichever of its names it is.

    Raises:
        SltError: there is none, or what is tied in mBART has values of its own.
    """
    found = [state[name] for name in (_SHARED, *TIED_NAMES) if name in state]
    if not found:
        raise SltError(f"mBART weights {source}: no {_SHARED}; this is no mBART for translation")
    for name in TIED_NAMES:
        if name in state and not torch.equal(state[name], found[0]):
            raise SltError(
                f"mBART weights {source}: {name} is not {_SHARED}; here one embedding serves for both, "
                "take an mBART whose embeddings are tied"
            )
    return found[0]


def with_rows(state: dict[str, Tensor], rows: list[int], source: str) -> dict[str, Tensor]:
    """Return the state dict of an mBART that has those rows of a vocabulary alone, in their order (FACTS 6.1).

    The text embedding, which also scores pieces, is kept once, with the bias of each; all else is the same tensors.

    Args:
        state: under transformers' names.
        rows: rows of the text embedding.
        source: of the weights, for messages.

    Raises:
        SltError: it is no mBART, or its embeddings are not tied.
    """
    embedding = shared_embedding(state, source)
    kept = {name: tensor.contiguous() for name, tensor in state.items() if name not in TIED_NAMES}
    bias = kept.get("final_logits_bias", torch.zeros(1, embedding.shape[0], dtype=embedding.dtype))
    return kept | {_SHARED: embedding[rows], "final_logits_bias": bias[:, rows]}
