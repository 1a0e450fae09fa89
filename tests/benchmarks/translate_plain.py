"""The loop that people write: all features in RAM from a gzip pickle, file order, default Adam, one process a run.

    python tests/benchmarks/translate_plain.py FEATURES.pkl.gz demo/mmtlb EPOCHS SEED [-o key=value ...]

It trains the model of the recipe, validates it at the size of its training batches, and saves it. `translate.py` times
it, epoch by epoch or as a whole process.
"""

import gzip
import pickle
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.labels import TextLabels
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.taps import Taps
from slt_pipeline.systems.features import open_features, widths_of
from slt_pipeline.systems.scores import score_texts
from slt_pipeline.systems.start import Start

RATE = 1e-4


class Plain:
    """Model, clips and features of a recipe, and the plain way to train and to decode."""

    def __init__(self, recipe: Recipe, features: dict[str, torch.Tensor], model: SignToText):
        """Take the features of every clip by its id."""
        self.recipe, self.features, self.model = recipe, features, model
        self.start = Start.of(recipe)
        self.labels = TextLabels(self.start.vocabularies.text)
        self.optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
        self.train_clips, self.dev_clips = (
            load_clips(recipe.corpus.manifest, s, needs=["text"]) for s in ("train", "dev")
        )

    def batches(self, clips: Sequence[Clip]) -> Iterator[tuple[Sequence[Clip], Taps]]:
        """Yield clips and features in file order."""
        size, stream = self.recipe.translate_train.training.batch_size, self.recipe.translator.stream
        for at in range(0, len(clips), size):
            rows = [self.features[clip.id].float() for clip in clips[at : at + size]]
            padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            taps: dict[str, Tensor | None] = {"s3d": None, "gloss_rep": None, "gloss_logits": None, stream: padded}
            yield clips[at : at + size], Taps(**taps, lengths=torch.tensor([len(row) for row in rows]))  # type: ignore[arg-type]

    def epoch(self) -> float:
        """Train on every clip once; return the last loss."""
        self.model.train()
        loss = torch.zeros(())
        for clips, taps in self.batches(self.train_clips):
            source = self.model.source(taps)
            loss = self.model.translator.losses(source, self.labels(clips), {"translation"})["translation"]
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        return loss.item()

    def decode(self, clips: Sequence[Clip]) -> list[str]:
        """Return the texts of clips."""
        self.model.eval()
        text, texts = self.start.vocabularies.text, []
        mbart = cast(Any, self.model.translator.mbart)
        with torch.no_grad():
            for _, taps in self.batches(clips):
                source = self.model.source(taps)
                ids = mbart.generate(
                    encoder_outputs=BaseModelOutput(last_hidden_state=self.model.translator.encode(source)),
                    attention_mask=source.mask,
                    decoder_start_token_id=text.language_id,
                    forced_eos_token_id=text.eos_id,
                    **self.recipe.translate_train.generation.model_dump(),
                )
                texts += text.decode_batch(ids)
        return texts

    def validate(self) -> float:
        """Return BLEU-4 on dev."""
        return score_texts(self.recipe.corpus.protocol, self.decode(self.dev_clips), self.dev_clips)["bleu4"]


def write_features(recipe: Recipe, path: Path) -> None:
    """Write the stream that a recipe reads as published code keeps it: one dictionary, pickled and packed by gzip."""
    store = open_features(recipe)
    splits = [load_clips(recipe.corpus.manifest, split) for split in ("train", "dev", "test")]
    found = {c.id: torch.from_numpy(store.read(c.id, recipe.translator.stream).copy()) for s in splits for c in s}
    with gzip.open(path, "wb", compresslevel=1) as file:
        pickle.dump(found, file)


def read_features(path: Path) -> dict[str, torch.Tensor]:
    """Read all of it."""
    with gzip.open(path, "rb") as file:
        return pickle.load(file)  # noqa: S301 - what `write_features` wrote


def main() -> None:
    """Make one run from beginning to end."""
    from slt_pipeline.cli.options import load

    path, name, epochs, seed, *overrides = sys.argv[1:]
    recipe = load(name, (*overrides, f"seed={seed}"))
    torch.manual_seed(recipe.seed)
    model = Start.of(recipe).build(widths_of(open_features(recipe)))
    plain = Plain(recipe, read_features(Path(path)), model)
    for epoch in range(1, int(epochs) + 1):
        plain.epoch()
        if epoch % recipe.translate_train.training.validate_every == 0:
            plain.validate()
            torch.save(model.state_dict(), f"{path}.{seed}.pt")
    test = load_clips(recipe.corpus.manifest, "test", needs=["text"])
    plain.validate(), plain.decode(test)  # as a sweep scores its runs


if __name__ == "__main__":
    main()
