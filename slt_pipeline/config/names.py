"""Names that a recipe chooses among and other rooms give a meaning to: protocols, scores, languages, weights."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

ProtocolName = Literal[
    "phoenix14t", "csl-daily", "csl-daily-halfwidth", "plain-word", "plain-char",
    "sacrebleu-13a", "sacrebleu-zh", "sacrebleu-char",
]  # fmt: skip
"""How a corpus is scored; metrics/protocols.py defines each."""
PROTOCOL_NAMES: tuple[ProtocolName, ...] = get_args(ProtocolName)
PROTOCOL_ALIASES: Mapping[str, ProtocolName] = MappingProxyType(
    {"csl-daily-char": "csl-daily", "csl-daily-char-halfwidth": "csl-daily-halfwidth"}
)
"""Other names that are taken wherever a protocol is named; what is written beside a number is the protocol's own."""

ScoreName = Literal["bleu1", "bleu2", "bleu3", "bleu4", "rouge", "chrf", "wer"]
"""Scores of a translator; `wer` is of its glosses."""
LOWER_IS_BETTER = frozenset({"wer"})
"""Scores that count mistakes; of all others more is better."""

WeightsKind = Literal["torchvision", "kylemin", "glosscls", "sign2gloss", "gloss2text", "sign2text", "cvslt"]
"""Weights of others; models/foreign.py tells them apart."""
WEIGHTS_KINDS: tuple[WeightsKind, ...] = get_args(WeightsKind)

LANGUAGE_CODES = (
    "ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI", "fr_XX", "gu_IN", "hi_IN", "it_IT", "ja_XX", "kk_KZ",
    "ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO", "ru_RU", "si_LK", "tr_TR", "vi_VN", "zh_CN",
)  # fmt: skip
"""mBART's 25 languages, in the order of their ids (FACTS 6.1). Other languages are as free, without its weights."""
SPOKEN_LANGUAGE = re.compile(r"[a-z]{2,3}_([A-Z]{2}|[A-Z][a-z]{3})")
"""A spoken language by country or script: `pl_PL`, `en_XX`, `sr_Latn`."""
ANY_LANGUAGE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z0-9]*")
"""A spoken or a sign language: `de_DGS`, `en_ASL`, `pt_Libras`. The first part names the spoken one beside it."""
