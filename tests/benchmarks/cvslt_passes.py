"""Seconds of CV-SLT's training epochs and steps on the CPU, next to the plain two-pass loop in the same run.

    OMP_NUM_THREADS=1 python tests/benchmarks/cvslt_passes.py --sizes 128x2 256x4 512x6 --clips 64 --rounds 5

The plain loop holds all features in RAM, as read from a pickle packed by gzip, takes batches in file order and runs
two passes of the encoder and two of the decoder; the others read bucketed batches from a store and differ in
`translator.passes`. Model, effective batch and clips are the same, and the loops take turns, so that a busy machine
disturbs all alike. A step is timed on one batch of clips of like length, without reading it.
"""

import argparse
import gzip
import pickle
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cache import FeatureStore, StreamSpec
from slt_pipeline.config.translator import CVSLTConfig, MBartConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.features import FeatureDataset
from slt_pipeline.models.cvslt import CVSLT
from slt_pipeline.models.mbart import EOS_ID, PAD_ID
from slt_pipeline.text.batch import pad_ids
from slt_pipeline.training.batches import EpochBatches

WIDTH, FIRST_PIECE, LANGUAGE = 512, 30, 6
PASSES = ("apart", "decoder", "together")
PARTS = ("prior", "posterior", "gaussian_kl", "output_kl")


class Vocabulary:
    """So many pieces; the published German tokenizer has 2498 (FACTS 6.1)."""

    language_id, byte_pieces = LANGUAGE, 0

    def __init__(self, pieces: int):
        """Have that many."""
        self.vocab_size = pieces

    def gloss_pieces(self, name: str) -> list[int]:
        """Return nothing of use: there is no gloss table."""
        raise NotImplementedError(name)


class Corpus:
    """Clips with lengths like PHOENIX's, as a pickle in RAM and as a store."""

    def __init__(self, num_clips: int, batch_size: int, pieces: int, folder: Path):
        """Make up features and texts, and write both forms."""
        rng, self.batch_size = np.random.default_rng(1), batch_size
        self.lengths = np.clip(rng.gamma(5.2, 5.6, num_clips), 6, 75).astype(int)
        texts = np.clip(rng.gamma(7.0, 2.4, num_clips), 4, 50).astype(int)
        self.texts = [rng.integers(FIRST_PIECE, pieces, n).tolist() for n in texts]
        self.clips = [
            Clip(str(i), f"{i}.mp4", 4 * int(n), 25.0, "anna", None, str(i), "train")
            for i, n in enumerate(self.lengths)
        ]
        features = {
            c.id: rng.standard_normal((n, WIDTH), np.float32) for c, n in zip(self.clips, self.lengths, strict=True)
        }
        with gzip.open(folder / "features.pkl.gz", "wb", compresslevel=1) as file:
            pickle.dump(features, file)
        streams = {"gloss_rep": StreamSpec(WIDTH, "float16")}
        store = folder / "store"
        with FeatureStore.create(store, streams=streams, fingerprint={}, durable=False).writer() as writer:
            for name, values in features.items():
                writer.write(name, {"gloss_rep": values.astype(np.float16)})
        with gzip.open(folder / "features.pkl.gz", "rb") as file:
            self.in_memory = pickle.load(file)  # noqa: S301 - what was written above
        self.dataset = FeatureDataset(FeatureStore.open(store), "gloss_rep", self.clips, self._labels)

    def plain(self) -> Iterator[dict[str, Tensor]]:
        """Yield batches in file order."""
        for start in range(0, len(self.clips), self.batch_size):
            clips = self.clips[start : start + self.batch_size]
            rows = [torch.from_numpy(self.in_memory[clip.id]) for clip in clips]
            features = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            yield {"features": features, "lengths": torch.tensor([len(row) for row in rows]), **self._labels(clips)}

    def bucketed(self) -> Iterator[dict[str, Tensor]]:
        """Yield batches of like length from the store."""
        lengths = self.lengths.tolist()
        for keys in EpochBatches(len(self.clips), self.batch_size, epochs=1, seed=1, lengths=lengths):
            yield self.dataset.__getitems__(keys)

    def _labels(self, clips) -> dict[str, Tensor]:
        rows = [[*self.texts[int(clip.id)], EOS_ID] for clip in clips]
        return {
            "labels": pad_ids(rows, PAD_ID)[0],
            "decoder_input_ids": pad_ids([[LANGUAGE, *row[:-1]] for row in rows], PAD_ID)[0],
        }


def main() -> None:
    """Print one line for every size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["128x2", "256x4", "512x6"], help="width x layers")
    parser.add_argument("--pieces", type=int, default=2498, help="of the text; the demo has 400")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps-only", action="store_true", help="one batch, no epochs")
    options = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()}), {threads} threads,", end=" ")
    print(f"{platform.machine()}; {options.pieces} pieces, {options.clips} clips, batches of {options.batch_size}")
    print("median seconds; ratios to the first of each group: median (least to most of the rounds)")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus(options.clips, options.batch_size, options.pieces, Path(folder))
        for size in options.sizes:
            _measure(_model(size, options.pieces), size, corpus, options.rounds, options.steps_only)


def _measure(model: CVSLT, size: str, corpus: Corpus, rounds: int, steps_only: bool) -> None:
    step = _step(model)
    batches = list(corpus.bucketed())
    middle = sorted(batches, key=lambda batch: batch["features"].shape[1])[len(batches) // 2]
    groups: dict[str, dict[str, Callable[[], None]]] = {
        "step": {passes: lambda p=passes: step(middle, p) for passes in PASSES}
    }
    if not steps_only:

        def epoch(make: Callable[[], Iterator[dict[str, Tensor]]], passes: str) -> None:
            for batch in make():
                step(batch, passes)

        groups["epoch"] = {
            "plain": lambda: epoch(corpus.plain, "apart"),
            **{passes: lambda p=passes: epoch(corpus.bucketed, p) for passes in PASSES},
        }
    for what, loops in groups.items():
        print(f"{size} {what}: {_line(_turns(loops, rounds))}", flush=True)


def _model(size: str, pieces: int) -> CVSLT:
    width, layers = map(int, size.split("x"))
    heads = max(4, width // 64)
    mbart = MBartConfig(d_model=width, num_layers=layers, num_heads=heads, ffn_dim=(2 if width < 256 else 4) * width)
    torch.manual_seed(1)
    return CVSLT(CVSLTConfig(mbart=mbart), Vocabulary(pieces), in_features=WIDTH).train()


def _step(model: CVSLT) -> Callable[[dict[str, Tensor], str], None]:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)

    def step(batch: dict[str, Tensor], passes: str) -> None:
        model.config = model.config.model_copy(update={"passes": passes})
        torch.stack(list(model(batch, PARTS).values())).sum().backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def _turns(loops: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    # With one thread the processor time is the same quantity, and other programs do not disturb it.
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds + 1):
        for name, loop in loops.items():
            start = clock()
            loop()
            if number:  # the first round warms up
                seconds[name].append(clock() - start)
    return seconds


def _line(seconds: dict[str, list[float]]) -> str:
    first, *others = seconds
    parts = [f"{first} {statistics.median(seconds[first]):.3f}"]
    for name in others:
        ratios = [b / a for a, b in zip(seconds[first], seconds[name], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        parts.append(f"{name} {statistics.median(seconds[name]):.3f}, {statistics.median(ratios):.2f} of it ({spread})")
    return "; ".join(parts)


if __name__ == "__main__":
    main()
