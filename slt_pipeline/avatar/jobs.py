"""What is to be rendered: one job a clip, the jobs of the weather report, and the performance of a job."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slt_pipeline.avatar.face import FACES
from slt_pipeline.avatar.grammar import write_report
from slt_pipeline.avatar.lexicon import LEXICON, Sign
from slt_pipeline.avatar.motion import Motion, plan
from slt_pipeline.avatar.reenact import reenact
from slt_pipeline.avatar.signer import Signer, make_signer
from slt_pipeline.config.synth import SynthConfig

_NEUTRAL_SHARE = 0.35  # of isolated clips; the others show one of the faces, all equally often


@dataclass(frozen=True, slots=True)
class Job:
    """One clip to make."""

    id: str
    path: str
    """Where below the output folder, without a file ending."""
    split: str
    signer: Signer
    gloss: tuple[str, ...]
    signs: tuple[Sign, ...]
    mouths: tuple[str, ...]
    """The face during each sign, where it does not follow `alignments`."""
    text: str | None
    fps: float
    isolated: bool = False
    spans: tuple[tuple[int, int], ...] | None = None
    """When each sign is made, where that is given; else it is drawn from the clip's seed. Frames."""
    num_frames: int | None = None
    """Length of the clip, given together with `spans`."""
    alignments: dict[str, tuple[int, ...]] | None = None
    """Per-frame labels of the clip that is re-enacted."""
    timing: str = "planned"
    """Where the timing comes from: planned, labels, labels in part, or uniform."""


def grammar_jobs(config: SynthConfig, seed: int) -> tuple[list[Job], list[Job]]:
    """Sentence clips and isolated clips of the built-in weather report."""
    signers = [make_signer(index, seed) for index in range(config.signers)]
    taken: set[str] = set()
    reports = {}
    for number, (split, num) in enumerate(
        (("test", config.num_test), ("dev", config.num_dev), ("train", config.num_train))
    ):
        reports[split] = write_report(num, np.random.default_rng([seed, 7_003, number]), taken)
        texts = {sentence.text for sentence in reports[split]}
        assert not texts & taken, f"{split} repeats a text of another split"
        taken |= texts
    sentences = [
        Job(
            id=f"{split}-{number:05d}",
            path=f"videos/{split}/{split}-{number:05d}",
            split=split,
            signer=signers[(number + number // len(signers)) % len(signers)],
            gloss=sentence.gloss,
            signs=tuple(LEXICON[gloss] for gloss in sentence.gloss),
            mouths=sentence.mouths,
            text=sentence.text,
            fps=config.fps,
        )
        for split in ("train", "dev", "test")
        for number, sentence in enumerate(reports[split])
    ]
    return sentences, isolated_jobs(LEXICON, sorted(LEXICON), signers, config, seed)


def isolated_jobs(
    signs: Mapping[str, Sign], glosses: Sequence[str], signers: Sequence[Signer], config: SynthConfig, seed: int
) -> list[Job]:
    """Clips of one sign each, by all signers in turn, with faces drawn at random."""
    jobs = []
    faces = list(FACES)
    for split, num in (("train", config.isolated_per_gloss), ("dev", config.isolated_dev_per_gloss)):
        rng = np.random.default_rng([seed, 7_004, split == "dev"])
        for index, gloss in enumerate(glosses):
            for take in range(num):
                name = f"{split}-{index:04d}-{re.sub('[^A-Za-z0-9]+', '_', gloss)[:40]}-{take:02d}"
                mouth = "neutral" if rng.random() < _NEUTRAL_SHARE else faces[int(rng.integers(1, len(faces)))]
                jobs.append(
                    Job(
                        id=f"isolated-{name}",
                        path=f"isolated/{split}/{name}",
                        split=split,
                        signer=signers[(take + index) % len(signers)],
                        gloss=(gloss,),
                        signs=(signs[gloss],),
                        mouths=(mouth,),
                        text=None,
                        fps=config.fps,
                        isolated=True,
                    )
                )
    return jobs


def perform(job: Job, config: SynthConfig, seed: int) -> tuple[Motion, dict]:
    """The motion of a job's clip, and what the manifest says of it beyond glosses and text."""
    rng = np.random.default_rng(clip_seed(job.id, seed))
    if job.spans is None or job.num_frames is None:
        motion = plan(job.signs, job.mouths, config, rng, job.signer.tempo)
        faces = {"mouth": job.mouths[0]} if job.isolated else {"mouths": list(job.mouths)}
    else:
        labels = job.alignments or {}
        motion = reenact(
            job.signs,
            job.spans,
            job.num_frames,
            hand_labels=labels.get("pami2"),
            mouth_labels=labels.get("pami1"),
            strength=config.nonmanual_strength,
            jitter=config.jitter,
            rng=rng,
        )
        faces = {"timing": job.timing}
    return motion, {**faces, "spans": [list(span) for span in motion.spans], "left_handed": job.signer.left_handed}


def clip_seed(clip_id: str, seed: int) -> list[int]:
    """Seed of one clip, whatever else is rendered before or beside it."""
    return [seed, int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big")]
