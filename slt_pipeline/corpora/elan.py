"""Sentences and glosses of ELAN files as clips: each annotation of a text tier is a span of the file's video."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from slt_pipeline.corpora.eaf import Annotation, Eaf, Tier, media_names, read_eaf
from slt_pipeline.corpora.importing import ImportReport, OutsideRoot
from slt_pipeline.corpora.isolated import SPLITS
from slt_pipeline.corpora.sentences import (
    Listed,
    Sentence,
    import_sentences,
    media_reference,
    plain_text,
    split_named,
)
from slt_pipeline.errors import SltError
from slt_pipeline.text.gloss_form import gloss_form


def import_elan(
    annotations: Path,
    out: Path,
    text_tiers: Sequence[str],
    gloss_tiers: Sequence[str] = (),
    *,
    videos: Path | None = None,
    split: str = "train",
    media_root: Path | None = None,
    strict: bool = False,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> ImportReport:
    """Write the manifest of ELAN files: a clip for each annotation of a text tier, with the glosses signed meanwhile.

    A gloss belongs to the sentence with which it has most time in common; when it is signed is kept, for
    `slt evaluate` to compare with. White space in a gloss becomes `-`.

    Args:
        annotations: a file `.eaf`, or a folder of them, at any depth; folders `train`, `dev`, `test` tell their split.
        out: the manifest to write.
        text_tiers: tiers of sentences, one a signer.
        gloss_tiers: of one text tier all its tiers of glosses, such as one a hand; of several the one of each.
        videos: folder where videos are looked for, too; the file itself says where they were.
        split: of all files that no folder tells one.
        media_root: what the references are relative to; the manifest's folder if None.
        strict: stop at the first sentence that cannot be read, instead of listing it as rejected.
        progress: wraps the sentences, such as `tqdm`.

    Raises:
        SltError: there are no files, or the tiers do not go together.
    """
    if not text_tiers:
        raise SltError("no tier of sentences is named; name one with --text-tier")
    if len(text_tiers) > 1 and len(gloss_tiers) not in (0, len(text_tiers)):
        raise SltError(f"{len(text_tiers)} text tiers have {len(gloss_tiers)} gloss tiers; name one for each, or none")
    files = [annotations]
    if annotations.is_dir():
        files = sorted(path for path in annotations.rglob("*") if path.suffix.lower() == ".eaf")
    files = [path for path in files if not path.name.startswith(".")]
    if not files:
        raise SltError(f"{annotations}: no .eaf files")
    pairs = [(text_tiers[0], list(gloss_tiers))] if len(text_tiers) == 1 else _pairs(text_tiers, gloss_tiers)
    listed, root, of_all = [], media_root or out.parent, split_named(split)
    for path in files:
        name = path.relative_to(annotations).with_suffix("").as_posix() if annotations.is_dir() else path.stem
        of_file = SPLITS.get(name.split("/")[0].lower()) if "/" in name else None
        try:
            eaf = read_eaf(path)
            for text_tier, glosses in pairs:
                listed += _of_tier(eaf, name, text_tier, glosses, of_file or of_all, videos, root)
        except SltError as error:
            listed.append(Listed(path.name, name, partial(_refused, str(error))))
    return import_sentences(listed, out, media_root, strict=strict, progress=progress)


def _pairs(text_tiers: Sequence[str], gloss_tiers: Sequence[str]) -> list[tuple[str, list[str]]]:
    return [(text, list(gloss_tiers[number : number + 1])) for number, text in enumerate(text_tiers)]


def _refused(reason: str) -> Sentence:
    raise SltError(reason)


def _of_tier(
    eaf: Eaf, name: str, text_tier: str, gloss_tiers: Sequence[str], split: str, videos: Path | None, root: Path
) -> list[Listed]:
    tier = eaf.tier(text_tier)
    glosses = [one for name in gloss_tiers for one in eaf.tier(name).annotations if one.start is not None]
    glosses = [one for one in glosses if gloss_form(one.value)]
    signed = _shared_out(sorted(glosses, key=lambda one: one.start or 0.0), tier.annotations)
    listed = []
    for one in tier.annotations:
        make = partial(_sentence, one, f"{name}/{one.name}", signed.get(one.name, []) if gloss_tiers else None)
        make = partial(make, split=split, signer=_signer(tier), eaf=eaf, videos=videos, root=root)
        listed.append(Listed(f"{eaf.path.name}: {one.name} of {tier.name}", f"{name}/{one.name}", make))
    return listed


def _sentence(
    one: Annotation,
    name: str,
    glosses: Sequence[Annotation] | None,
    *,
    split: str,
    signer: str,
    eaf: Eaf,
    videos: Path | None,
    root: Path,
) -> Sentence:
    if one.start is None or one.end is None:
        raise SltError("the annotation has no time")
    if not one.value and not glosses:
        raise SltError("the annotation is empty")
    video, origin = _video(eaf, videos, root)
    gloss, times = None, None
    if glosses:
        gloss = tuple(gloss_form(found.value) for found in glosses)
        times = [(_on_video(found.start or 0.0, origin), _on_video(found.end or 0.0, origin)) for found in glosses]
    start, end = _on_video(one.start, origin), _on_video(one.end, origin)
    return Sentence(name, video, plain_text(one.value), gloss, split, signer, start=start, end=end, gloss_times=times)


def _on_video(seconds: float, origin: float) -> float:
    """Return a time of the file in its video, where 0.1 and 0.2 are 0.3."""
    return round(seconds + origin, 9) if origin else seconds


def _shared_out(glosses: Iterable[Annotation], sentences: Sequence[Annotation]) -> dict[str, list[Annotation]]:
    """Return the glosses of each sentence: those that have more time in common with it than with any other."""
    found: dict[str, list[Annotation]] = {}
    for gloss in glosses:
        shared = [(_common(gloss, sentence), -number) for number, sentence in enumerate(sentences)]
        most, number = max(shared, default=(0.0, 0))
        if most > 0:
            found.setdefault(sentences[-number].name, []).append(gloss)
    return found


def _common(one: Annotation, other: Annotation) -> float:
    if one.start is None or one.end is None or other.start is None or other.end is None:
        return 0.0
    return min(one.end, other.end) - max(one.start, other.start)


def _signer(tier: Tier) -> str:
    return tier.participant or "unknown"


def _video(eaf: Eaf, videos: Path | None, root: Path) -> tuple[str, float]:
    """Return the reference of the first of a file's videos that is there, and where the file's clock starts in it."""
    outside = None
    for media in eaf.media:
        for path in media_names(media.name):
            for folder in (eaf.path.parent, videos):
                if folder is not None and path:
                    try:
                        return media_reference(path, folder, root), media.origin
                    except OutsideRoot as error:
                        outside = outside or error
                    except SltError:
                        continue
    named = ", ".join(media.name for media in eaf.media) or "it names none"
    raise outside or SltError(f"none of its videos is there: {named}; name their folder with --videos")
