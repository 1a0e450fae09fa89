"""What is to be rendered: one job a clip, and the performance of a job."""

import hashlib
import re
from dataclasses import dataclass

import numpy as np

from slt_pipeline.config.synth import SynthConfig
from slt_pipeline.corpora.avatar.face import FACES
from slt_pipeline.corpora.avatar.grammar import write_report
from slt_pipeline.corpora.avatar.lexicon import LEXICON, sign_of
from slt_pipeline.corpora.avatar.motion import Motion, plan
from slt_pipeline.corpora.avatar.signer import Signer, make_signer


@dataclass(frozen=True, slots=True)
class Job:
    """One clip to make."""

    id: str
    folder: str
    """Folder of the clip below the output folder, `videos/train` or `isolated/dev`."""
    split: str
    signer: Signer
    gloss: tuple[str, ...]
    mouths: tuple[str, ...]
    text: str | None
    isolated: bool = False


def grammar_jobs(config: SynthConfig, seed: int) -> tuple[list[Job], list[Job]]:
    """Sentence clips and isolated clips of the built-in weather report."""
    signers = [make_signer(index, seed) for index in range(config.signers)]
    rng = np.random.default_rng([seed, 7_003])
    counts = {"test": config.num_test, "dev": config.num_dev, "train": config.num_train}
    taken: set[str] = set()
    reports = {}
    for split, num in counts.items():  # the unseen ones first, so that a larger training split leaves them as they are
        reports[split] = write_report(num, rng, taken)
        taken |= {sentence.text for sentence in reports[split]}
    sentences = [
        Job(
            f"{split}-{number:05d}",
            f"videos/{split}",
            split,
            signers[int(rng.integers(len(signers)))],
            s.gloss,
            s.mouths,
            s.text,
        )
        for split in ("train", "dev", "test")
        for number, s in enumerate(reports[split])
    ]
    return sentences, isolated_jobs(sorted(LEXICON), signers, config, seed)


def isolated_jobs(glosses: list[str], signers: list[Signer], config: SynthConfig, seed: int) -> list[Job]:
    """Clips of one sign each, by all signers in turn, with faces drawn at random."""
    jobs = []
    faces = list(FACES)
    for split, num in (("train", config.isolated_per_gloss), ("dev", config.isolated_dev_per_gloss)):
        rng = np.random.default_rng([seed, 7_004, num, split == "dev"])
        for index, gloss in enumerate(glosses):
            for take in range(num):
                name = f"isolated-{split}-{index:04d}-{_file_name(gloss)}-{take:02d}"
                mouth = "neutral" if rng.random() < 0.35 else faces[int(rng.integers(1, len(faces)))]
                signer = signers[(take + index) % len(signers)]
                jobs.append(Job(name, f"isolated/{split}", split, signer, (gloss,), (mouth,), None, isolated=True))
    return jobs


def perform(job: Job, config: SynthConfig, seed: int) -> tuple[Motion, dict]:
    """The motion of a job's clip, and what the manifest says of it beyond glosses and text."""
    signs = [sign_of(gloss) for gloss in job.gloss]
    motion = plan(signs, job.mouths, config, np.random.default_rng(clip_seed(job.id, seed)), job.signer.tempo)
    extra = {"mouth": job.mouths[0]} if job.isolated else {"mouths": list(job.mouths)}
    return motion, {**extra, "spans": [list(span) for span in motion.spans], "left_handed": job.signer.left_handed}


def clip_seed(clip_id: str, seed: int) -> list[int]:
    """Seed of one clip, whatever else is rendered before or beside it."""
    return [seed, int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big")]


def _file_name(gloss: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", gloss)[:40]
