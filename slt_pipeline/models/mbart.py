"""mBART as transformers has it, built from our configuration or from a local folder (FACTS 6.1)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import MBartConfig as HFMBartConfig
from transformers import MBartForConditionalGeneration

from slt_pipeline.config.translator import MBartConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.mbart_files import (
    TIED_NAMES,
    copy_strictly,
    read_config,
    read_weights,
    require_fitting,
    require_types,
    shared_embedding,
)

# fairseq's numbering, the same in every mBART, pruned or not
BOS_ID, PAD_ID, EOS_ID = 0, 1, 2
# the keys of a config.json that build the network; the rest (generation defaults, label names, versions) is not taken
_ARCHITECTURE = (
    *("vocab_size", "d_model", "max_position_embeddings", "scale_embedding", "activation_function", "init_std"),
    *("encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "encoder_layerdrop", "activation_dropout"),
    *("decoder_layers", "decoder_attention_heads", "decoder_ffn_dim", "decoder_layerdrop"),
)
_SHAPES = (
    "d_model",
    "max_position_embeddings",
    *(key for key in _ARCHITECTURE if key.endswith(("_layers", "_ffn_dim"))),
)
_SHARED = "model.shared.weight"


def build_mbart(
    config: MBartConfig, vocab_size: int, architecture: dict[str, Any] | None = None
) -> MBartForConditionalGeneration:
    """Return mBART with `vocab_size` pieces: random weights in the configured size, or the folder's size and weights.

    Args:
        config: size, or folder; dropout and what is frozen.
        vocab_size: V, the tokenizer's.
        architecture: of a trained run (`architecture`), whose weights come from its checkpoint: no folder is read.

    Raises:
        SltError: the folder is not an mBART, its weights do not fit, or its vocabulary is not the tokenizer's.
    """
    if architecture is not None:
        return _new(config, architecture)
    if config.folder is None:
        model = _new(config, {**_sizes(config), "vocab_size": vocab_size})
        for stack in (model.model.encoder, model.model.decoder):
            nn.init.normal_(stack.embed_positions.weight, std=config.position_std)
        return model
    settings = _read_settings(config.folder)
    if settings["vocab_size"] != vocab_size:
        raise SltError(
            f"mBART folder {config.folder}: {settings['vocab_size']} pieces, the tokenizer has {vocab_size}; "
            "use the tokenizer of the same folder"
        )
    state = read_weights(config.folder)
    _require_fitting(settings, state, str(config.folder))
    model = _new(config, settings)
    load_mbart_weights(model, state, source=str(config.folder))
    return model


def require_mbart(folder: Path, state: Mapping[str, Tensor]) -> None:
    """Refuse a folder whose config.json and weights make no mBART that can be trained.

    Raises:
        SltError: a setting, name or shape is wrong, or a tensor has values that are not finite; it is named.
    """
    _require_fitting(_read_settings(folder), state, str(folder))


def positions_of_mbart(config: MBartConfig) -> int:
    """Return the longest source or target of an mBART, as its folder says, else as configured."""
    if config.folder is None:
        return config.max_positions
    return _read_settings(config.folder).get("max_position_embeddings", HFMBartConfig().max_position_embeddings)


def architecture(model: MBartForConditionalGeneration) -> dict[str, Any]:
    """Return the settings that build the same network without weights, as JSON."""
    return {name: getattr(model.config, name) for name in _ARCHITECTURE}


def load_mbart_weights(model: MBartForConditionalGeneration, state: dict[str, Tensor], source: str) -> None:
    """Copy a state dict of transformers' names into `model`; tied copies of the text embedding may be absent.

    Raises:
        SltError: names or shapes differ, or what is tied here has values of its own.
    """
    copy_strictly(model, _whole(state, source), f"mBART weights {source}")


def text_embedding(model: MBartForConditionalGeneration) -> Tensor:
    """Return the parameter (V, M) that embeds and scores pieces; without the scale."""
    return cast(Tensor, model.get_input_embeddings().weight)


def drop_tied_names(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    """State-dict hook of a module that holds an mBART as `mbart`: keep the text embedding under one name alone.

    safetensors refuses one tensor under four names, and three of them carry nothing.
    """
    for name in TIED_NAMES:
        state.pop(f"{prefix}mbart.{name}", None)


def restore_tied_names(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Undo `drop_tied_names` before a state dict is loaded."""
    shared = state.get(f"{prefix}mbart.{_SHARED}")
    if shared is not None:
        for name in TIED_NAMES:
            state.setdefault(f"{prefix}mbart.{name}", shared)


def _sizes(config: MBartConfig) -> dict[str, Any]:
    return {
        "d_model": config.d_model,
        "encoder_layers": config.num_layers,
        "decoder_layers": config.num_layers,
        "encoder_attention_heads": config.num_heads,
        "decoder_attention_heads": config.num_heads,
        "encoder_ffn_dim": config.ffn_dim,
        "decoder_ffn_dim": config.ffn_dim,
        "max_position_embeddings": config.max_positions,
        "scale_embedding": True,
    }


def _new(config: MBartConfig, settings: dict[str, Any]) -> MBartForConditionalGeneration:
    # Built anew each time: transformers writes into the configuration object that it is given. The start token of
    # decoding is set by each call of generate, because it is the target language.
    hf_config = HFMBartConfig(
        **{"activation_dropout": 0.0, **settings},  # type: ignore[arg-type]
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        bos_token_id=BOS_ID,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        forced_eos_token_id=EOS_ID,
    )
    model = MBartForConditionalGeneration(hf_config)
    text_embedding(model).requires_grad_(not config.freeze_text_embedding)
    return model


def _read_settings(folder: Path) -> dict[str, Any]:
    raw = read_config(folder)
    settings = {key: raw[key] for key in _ARCHITECTURE if key in raw}
    require_types(settings, HFMBartConfig(), f"mBART folder {folder}")
    return settings


def _whole(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return weights under all names that a model has, in files of every kind."""
    state = dict(state)
    state[_SHARED] = shared_embedding(state, source)
    state.update(dict.fromkeys(TIED_NAMES, state[_SHARED]))
    state.setdefault("final_logits_bias", torch.zeros(1, state[_SHARED].shape[0]))
    return state


def _require_fitting(settings: dict[str, Any], state: Mapping[str, Tensor], source: str) -> None:
    what = f"mBART weights {source}"
    layers = {key: settings[key] for key in ("encoder_layers", "decoder_layers") if key in settings}
    if key := next((key for key in _SHAPES if key not in settings), None):
        usual = getattr(HFMBartConfig(), key)
        what += f" (whose config.json has no {key}, so that it is {usual})"
    require_fitting(lambda: _new(MBartConfig(), settings), _whole(state, source), what, layers)
