"""What a batch of clips is trained on: a labeller makes tensors of clips, the same for features and for video.

Labellers are objects, not closures, so that loader processes can have them. B clips, L glosses, N pieces.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.padding import Padding, filled, filled_behind
from slt_pipeline.errors import SltError
from slt_pipeline.text.batch import pad_ids
from slt_pipeline.text.gloss_vocab import GlossVocabulary, gloss_name
from slt_pipeline.text.tokenizer import Tokenizer

Labeller = Callable[[Sequence[Clip]], dict[str, torch.Tensor]]
"""Clips to tensors, by the names under which the models look for them in a batch."""


def padding_of(labels: Labeller) -> dict[str, Padding]:
    """Return how the tensors of a labeller are padded; of one that pads nothing, nothing."""
    return getattr(labels, "padding", {})


class Labels:
    """Several labellers as one."""

    def __init__(self, *labellers: Labeller):
        self.labellers = labellers

    @classmethod
    def of(cls, tokenizer: Tokenizer, classes: GlossVocabulary) -> "Labels":
        """Return those of a translator that may recognise as well: texts, and glosses for CTC."""
        return cls(TextLabels(tokenizer), GlossLabels(classes))

    def __call__(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        """Return the tensors of all of them."""
        return {name: tensor for labeller in self.labellers for name, tensor in labeller(clips).items()}

    @property
    def padding(self) -> dict[str, Padding]:
        """How they are padded."""
        return {name: padding for labeller in self.labellers for name, padding in padding_of(labeller).items()}


@dataclass(frozen=True)
class TextLabels:
    """Texts as the decoder learns them."""

    tokenizer: Tokenizer

    def __call__(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        """Return `labels (B, N)` and `decoder_input_ids (B, N)`.

        Raises:
            SltError: a clip has no text.
        """
        texts = [clip.text for clip in clips if clip.text is not None]
        _require_all(clips, len(texts), "text")
        return self.tokenizer.encode_target(texts)._asdict()

    @property
    def padding(self) -> dict[str, Padding]:
        """How they are padded."""
        pad, end, language = self.tokenizer.pad_id, self.tokenizer.eos_id, self.tokenizer.language_id
        return {"labels": filled(1, pad), "decoder_input_ids": filled_behind(pad, end, language)}


@dataclass(frozen=True)
class GlossLabels:
    """Glosses as the classes that CTC learns."""

    classes: GlossVocabulary

    def __call__(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        """Return `gloss_labels (B, L)` and `gloss_label_lengths (B,)`, which is -1 for a clip that has none.

        Such a clip takes no part in CTC, whether its glosses are null or an empty list: absent is not empty.
        """
        labels, lengths = pad_ids([self.classes.encode(clip.gloss or ()) for clip in clips], self.classes.pad_id)
        absent = torch.tensor([not clip.gloss for clip in clips])
        return {"gloss_labels": labels, "gloss_label_lengths": lengths.masked_fill(absent, -1)}

    @property
    def padding(self) -> dict[str, Padding]:
        """How they are padded."""
        return {"gloss_labels": filled(1, self.classes.pad_id)}


@dataclass(frozen=True)
class GlossInputs:
    """Glosses as Gloss2Text reads them."""

    glosses: GlossVocabulary

    def __call__(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        """Return the encoded glosses of clips.

        Raises:
            SltError: a clip has no gloss.
        """
        glosses = [clip.gloss for clip in clips if clip.gloss is not None]
        _require_all(clips, len(glosses), "gloss")
        return self.encode(glosses)

    def encode(self, glosses: Sequence[Sequence[str]]) -> dict[str, torch.Tensor]:
        """Return `gloss_input_ids (B, L)`, rows of the gloss table, and `gloss_input_lengths (B,)`."""
        ids, lengths = pad_ids([self.glosses.encode(row) for row in glosses], self.glosses.pad_id)
        return {"gloss_input_ids": ids, "gloss_input_lengths": lengths}

    def length(self, glosses: Sequence[str]) -> int:
        """Return the steps that a sentence takes."""
        return len(glosses)

    def num_unknown(self, glosses: Sequence[str]) -> int:
        """Return how many of them are `<unk>`."""
        return self.glosses.encode(glosses).count(self.glosses.unk_id)

    @property
    def padding(self) -> dict[str, Padding]:
        """How they are padded."""
        return {"gloss_input_ids": filled(1, self.glosses.pad_id)}


@dataclass(frozen=True)
class GlossPieces:
    """Glosses as Gloss2Text of the paper's form reads them: the pieces of their names, in small letters (FACTS 13)."""

    tokenizer: Tokenizer

    def encode(self, glosses: Sequence[Sequence[str]]) -> dict[str, torch.Tensor]:
        """Return `gloss_piece_ids (B, P)`, rows of the text embedding, and `gloss_piece_lengths (B,)`."""
        ids, lengths = pad_ids([self._pieces(row) for row in glosses], self.tokenizer.pad_id)
        return {"gloss_piece_ids": ids, "gloss_piece_lengths": lengths}

    def length(self, glosses: Sequence[str]) -> int:
        """Return the steps that a sentence takes."""
        return len(self._pieces(glosses))

    def num_unknown(self, glosses: Sequence[str]) -> int:
        """Return how many of them are `<unk>`."""
        return self._pieces(glosses).count(self.tokenizer.unk_id)

    @property
    def padding(self) -> dict[str, Padding]:
        """How they are padded."""
        return {"gloss_piece_ids": filled(1, self.tokenizer.pad_id)}

    def _pieces(self, glosses: Sequence[str]) -> list[int]:
        return [piece for gloss in glosses for piece in self.tokenizer.gloss_pieces(gloss_name(gloss))]


GlossReader = GlossInputs | GlossPieces
"""What makes glosses what Gloss2Text reads, of one of its two forms."""


def no_labels(clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
    """Return nothing: the labels of clips that are only decoded."""
    return {}


def _require_all(clips: Sequence[Clip], num_found: int, name: str) -> None:
    if num_found < len(clips):
        bare = next(clip for clip in clips if getattr(clip, name) is None)
        raise SltError(f"clip {bare.id} has no {name}, and is to be trained on it; leave it out or add its {name}")
