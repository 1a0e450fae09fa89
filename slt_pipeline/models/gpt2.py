"""GPT-2 as transformers has it, in mBART's place: what it reads stands before what it writes.

Gloss2Text of MMTLB's table 4: the prompt is a sentence of glosses, closed as for mBART by two vectors, which part it
from the text. B sentences, S steps of the prompt with padding behind, N pieces, M wide, V pieces of the vocabulary.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import EncoderDecoderCache, GPT2LMHeadModel, MBartForConditionalGeneration, PreTrainedModel
from transformers import GPT2Config as HFGPT2Config
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutputWithCrossAttentions

from slt_pipeline.config.translator import GPT2Config, TranslatorConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.language import EncoderInput, TextVocabulary
from slt_pipeline.models.mbart import BOS_ID, EOS_ID, PAD_ID
from slt_pipeline.models.mbart_files import copy_strictly, read_config, read_weights, require_fitting, require_types
from slt_pipeline.models.mmtlb import MMTLB

# the keys of a config.json that build the network
_ARCHITECTURE = (
    *("vocab_size", "n_embd", "n_layer", "n_head", "n_inner", "n_positions", "activation_function"),
    *("layer_norm_epsilon", "initializer_range", "scale_attn_weights", "scale_attn_by_inverse_layer_idx"),
)
_EMBEDDING, _TIED = "transformer.wte.weight", "lm_head.weight"


class GPT2Gloss2Text(MMTLB):
    """MMTLB's Gloss2Text with a GPT-2: its losses are of the text alone, the glosses are given."""

    reads_text = True

    def encode(self, source: EncoderInput) -> Tensor:
        """Return the prompt's vectors: there is no encoder."""
        return source.vectors

    def text_source(self, labels: Tensor) -> EncoderInput:
        """Return no step at all: a text that is learned for itself has nothing before it."""
        vectors, mask = super().text_source(labels[:, :0])
        return EncoderInput(vectors, mask)

    @property
    def architecture(self) -> dict[str, Any]:
        """Settings that build the same GPT-2 without weights, as JSON."""
        return {name: getattr(self.mbart.config, name) for name in _ARCHITECTURE}

    @property
    def hugging_face(self) -> PreTrainedModel:
        """The GPT-2 as transformers has it."""
        return cast(GPT2BehindPrompt, self.mbart).gpt2

    def _language_model(
        self, config: TranslatorConfig, tokenizer: TextVocabulary, architecture: dict[str, Any] | None
    ) -> MBartForConditionalGeneration:
        built = GPT2BehindPrompt(build_gpt2(config.gpt2, tokenizer, architecture))
        return cast(MBartForConditionalGeneration, built)  # it takes the calls of mBART that are made here


class GPT2BehindPrompt(nn.Module):
    """A GPT-2 that takes mBART's calls: in the place of encoder states it has the vectors of a prompt."""

    def __init__(self, gpt2: GPT2LMHeadModel):
        """Take the network; its output layer, which is its text embedding, is kept under one name in a state dict."""
        super().__init__()
        self.gpt2 = gpt2
        self.register_state_dict_post_hook(_drop_tied)
        self.register_load_state_dict_pre_hook(_restore_tied)

    @property
    def config(self) -> HFGPT2Config:
        """Sizes, under transformers' names."""
        return self.gpt2.config

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.gpt2.dtype

    def get_input_embeddings(self) -> nn.Module:
        """Return the text embedding."""
        return self.gpt2.get_input_embeddings()

    def forward(
        self,
        *,
        encoder_outputs: BaseModelOutput,
        attention_mask: Tensor,
        decoder_input_ids: Tensor,
        use_cache: bool = False,
        **cache: EncoderDecoderCache,
    ) -> CausalLMOutputWithCrossAttentions:
        """Return an output whose `logits (B, N, V)` are those behind each of `decoder_input_ids (B, N)`.

        Args:
            encoder_outputs: vectors of the prompt (B, S, M).
            attention_mask: 1 on its steps that count (B, S); text stands right behind the last of them.
            decoder_input_ids: pieces; with a cache those that it has not seen.
            use_cache: whether the cache is read and added to.
            cache: under the name that transformers gives it; the half of it that is of a decoder is used.
        """
        prompt, pieces = _states(encoder_outputs), self._embedded(decoder_input_ids)
        own = {name: each.self_attention_cache for name, each in cache.items()}
        seen = sum(each.get_seq_length() for each in own.values())
        rows, steps = attention_mask.shape
        text = attention_mask.new_ones(rows, max(0, seen - steps) + decoder_input_ids.shape[1])
        mask = torch.cat([attention_mask, text], dim=1)
        inputs = pieces if seen else torch.cat([prompt, pieces], dim=1)
        places = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -inputs.shape[1] :]
        return self.gpt2(
            inputs_embeds=inputs,
            attention_mask=mask,
            position_ids=places,
            use_cache=use_cache,
            logits_to_keep=decoder_input_ids.shape[1],
            **own,
        )

    def generate(
        self,
        *,
        encoder_outputs: BaseModelOutput,
        attention_mask: Tensor,
        decoder_start_token_id: int,
        max_length: int,
        **settings: Any,
    ) -> Tensor:
        """Return ids as mBART's search does: they begin with the language code, and have no prompt before it."""
        start = attention_mask.new_full((len(attention_mask), 1), decoder_start_token_id)
        model = cast(Any, self.gpt2)
        return model.generate(
            input_ids=start,
            inputs_embeds=torch.cat([_states(encoder_outputs), self._embedded(start)], dim=1),
            attention_mask=torch.cat([attention_mask, torch.ones_like(start)], dim=1),
            max_new_tokens=max_length - 1,
            **settings,
        )

    def _embedded(self, ids: Tensor) -> Tensor:
        return self.gpt2.transformer.wte(ids)


def build_gpt2(
    config: GPT2Config, tokenizer: TextVocabulary, architecture: Mapping[str, Any] | None = None
) -> GPT2LMHeadModel:
    """Return a GPT-2 with the tokenizer's pieces: random weights in the configured size, or a folder's.

    Args:
        config: size, or folder; dropout and what is frozen.
        tokenizer: V pieces.
        architecture: of a trained run, whose weights come from its checkpoint: no folder is read.

    Raises:
        SltError: the folder is no GPT-2, its weights do not fit, or its vocabulary is not the tokenizer's.
    """
    if architecture is not None:
        return _new(config, architecture)
    if config.folder is None:
        model = _new(config, {**_sizes(config), "vocab_size": tokenizer.vocab_size})
        nn.init.normal_(model.transformer.wpe.weight, std=config.position_std)
        return model
    settings = read_config(config.folder, "gpt2")
    known = {**_known(settings, config.folder), "vocab_size": tokenizer.vocab_size}
    state = _named(read_weights(config.folder), str(config.folder))
    if tokenizer.byte_pieces and _EMBEDDING in state:
        end = settings.get("eos_token_id")
        rows = _rows(tokenizer, state[_EMBEDDING].shape[0], end if isinstance(end, int) else 0, str(config.folder))
        state[_EMBEDDING] = state[_EMBEDDING][rows]
    state |= {_TIED: state[_EMBEDDING]} if _EMBEDDING in state else {}
    what, layers = f"GPT-2 weights {config.folder}", {key: known[key] for key in ("n_layer",) if key in known}
    require_fitting(lambda: _new(config, known), state, what, layers)
    model = _new(config, known)
    copy_strictly(model, state, what)
    return model


def positions_of_gpt2(config: GPT2Config) -> int:
    """Return the longest prompt with its text, as the folder says, else as configured."""
    if config.folder is None:
        return config.max_positions
    known = _known(read_config(config.folder, "gpt2"), config.folder)
    return cast(int, known.get("n_positions", HFGPT2Config().n_positions))


def _states(outputs: BaseModelOutput) -> Tensor:
    assert outputs.last_hidden_state is not None
    return outputs.last_hidden_state


def _rows(tokenizer: TextVocabulary, num_rows: int, end: int, source: str) -> list[int]:
    """Return the row of a folder's text embedding that each id starts from: special tokens and languages at `end`.

    Raises:
        SltError: the folder has fewer rows than its tokenizer has pieces.
    """
    count = tokenizer.byte_pieces
    if max(count, end + 1) > num_rows:
        raise SltError(
            f"GPT-2 weights {source}: {num_rows} pieces, the tokenizer has {count} and the end of a text is {end}; use "
            "the config.json and tokenizer of the same folder"
        )
    return [end] * 4 + list(range(count)) + [end] * (tokenizer.vocab_size - 4 - count)


def _named(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return weights under the names of a model with an output layer, which is left out as the masks of older files.

    Raises:
        SltError: the output layer is not the text embedding.
    """
    whole = {
        name if name.startswith(("transformer.", _TIED)) else f"transformer.{name}": v for name, v in state.items()
    }
    output = whole.pop(_TIED, None)
    if output is not None and (_EMBEDDING not in whole or not torch.equal(output, whole[_EMBEDDING])):
        raise SltError(f"GPT-2 weights {source}: {_TIED} is not {_EMBEDDING}; take a GPT-2 whose embeddings are tied")
    return {name: value for name, value in whole.items() if not name.endswith((".attn.bias", ".attn.masked_bias"))}


def _sizes(config: GPT2Config) -> dict[str, Any]:
    sizes = {"n_embd": config.d_model, "n_layer": config.num_layers, "n_head": config.num_heads}
    return {**sizes, "n_inner": config.ffn_dim, "n_positions": config.max_positions}


def _known(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    found = {key: settings[key] for key in _ARCHITECTURE if key in settings}
    require_types(found, HFGPT2Config(), f"GPT-2 folder {folder}")
    return found


def _new(config: GPT2Config, settings: Mapping[str, Any]) -> GPT2LMHeadModel:
    hf_config = HFGPT2Config(
        **settings,
        resid_pdrop=config.dropout,
        embd_pdrop=config.dropout,
        attn_pdrop=config.attention_dropout,
        bos_token_id=BOS_ID,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
    )
    # what a translator asks of mBART's settings
    hf_config.d_model, hf_config.init_std, hf_config.scale_embedding = (
        hf_config.n_embd,
        hf_config.initializer_range,
        False,
    )
    model = GPT2LMHeadModel(hf_config)
    model.transformer.wte.weight.requires_grad_(not config.freeze_text_embedding)
    return model


def _drop_tied(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    state.pop(f"{prefix}gpt2.{_TIED}", None)


def _restore_tied(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    if f"{prefix}gpt2.{_EMBEDDING}" in state:
        state.setdefault(f"{prefix}gpt2.{_TIED}", state[f"{prefix}gpt2.{_EMBEDDING}"])
