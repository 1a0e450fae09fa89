"""ELAN's annotation files: tiers of annotations with their times in seconds, and the videos that they are of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from slt_pipeline.errors import SltError
from slt_pipeline.text.normalise import nfc

Span = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation of a tier."""

    name: str
    """Its id in the file."""
    value: str
    start: float | None
    """Seconds on the file's own clock; None, as is `end`: the file does not tell, and no neighbours do."""
    end: float | None


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier, in the order of its annotations in time."""

    name: str
    participant: str
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True, slots=True)
class Media:
    """A video of a file, under one of its names."""

    name: str
    """As it was written."""
    origin: float
    """Seconds of the video where the file's clock starts: each video has its own."""


@dataclass(frozen=True, slots=True)
class Eaf:
    """What is read of a file."""

    path: Path
    tiers: dict[str, Tier]
    media: tuple[Media, ...]
    """Its videos by all of their names: the relative ones first."""

    def tier(self, name: str) -> Tier:
        """Return a tier.

        Raises:
            SltError: there is none of this name; those that there are are named.
        """
        if nfc(name) not in self.tiers:
            known = ", ".join(f"{tier.name} ({len(tier.annotations)})" for tier in self.tiers.values())
            raise SltError(f"no tier {name!r}; there are {known or 'none'}")
        return self.tiers[nfc(name)]


def read_eaf(path: Path) -> Eaf:
    """Read a file; nothing outside of it is looked at, and entities are refused.

    Raises:
        SltError: it cannot be read, or is none.
    """
    root = _parsed(path)
    if root.tag != "ANNOTATION_DOCUMENT":
        raise SltError(f"{path}: no ELAN file: its outermost element is {root.tag}")
    header = root.find("HEADER")
    media = [] if header is None else header.findall("MEDIA_DESCRIPTOR")
    media = [one for one in media if not one.get("MIME_TYPE", "").startswith("audio")]
    slots = {slot.get("TIME_SLOT_ID", ""): slot.get("TIME_VALUE") for slot in root.iterfind("TIME_ORDER/TIME_SLOT")}
    times = {slot: _milliseconds(value, path) for slot, value in slots.items()}
    spans: dict[str, Span] = {}
    tiers = root.findall("TIER")
    for tier in tiers:
        spans |= _aligned(tier, times)
    before = None
    while spans != before:  # a tier may refer to one that refers to another
        before = dict(spans)
        for tier in tiers:
            spans |= _referring(tier, spans)
    named = {tier.get("TIER_ID", ""): _tier(tier, spans) for tier in tiers}
    origins = [(_milliseconds(one.get("TIME_ORIGIN"), path) or 0.0) / 1000 for one in media]
    names = [
        Media(name, origin)
        for key in ("RELATIVE_MEDIA_URL", "MEDIA_URL")
        for one, origin in zip(media, origins, strict=True)
        if (name := one.get(key, ""))
    ]
    return Eaf(path, {nfc(name): tier for name, tier in named.items()}, tuple(names))


def media_names(name: str) -> Iterator[str]:
    r"""Yield what a video may be called from the annotation file's folder on: as it is written, and by its name alone.

    Args:
        name: `file:///C:/Users/a/b%20c.mp4`, `./b.mp4`, `..\b.mp4`, or a plain path.
    """
    plain = unquote(name.removeprefix("file://"))
    path = plain.replace("\\", "/")
    yield path
    yield PureWindowsPath(plain).name


def _parsed(path: Path) -> Element:
    """Return the root of an XML file; a document type, which can make a small file a huge one, is refused."""
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        raise SltError(f"{path}: has a document type, which no ELAN file has; it is not read")

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
        return builder.close()
    except OSError as error:
        raise SltError(f"{path}: cannot be read: {error.strerror}") from None
    except (expat.ExpatError, ValueError) as error:
        raise SltError(f"{path}: is damaged, or no ELAN file: {error}") from None


def _milliseconds(text: str | None, path: Path) -> float | None:
    try:
        return None if not text else float(text)
    except ValueError:
        raise SltError(f"{path}: is damaged: {text!r} is no time") from None


def _aligned(tier: Element, times: dict[str, float | None]) -> dict[str, Span]:
    """Return start and end of a tier's own annotations, milliseconds; times that are not told lie evenly between."""
    found = tier.findall("ANNOTATION/ALIGNABLE_ANNOTATION")
    slots = [one.get(key, "") for one in found for key in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")]
    chain = list(dict.fromkeys(slots))
    known = np.array([np.nan if times.get(slot) is None else times[slot] for slot in chain], dtype=np.float64)
    told = np.flatnonzero(~np.isnan(known))
    if len(told):
        between = np.interp(np.arange(len(chain)), told, known[told], left=np.nan, right=np.nan)
        known = np.where(np.isnan(known), between, known)
    at = {slot: None if np.isnan(time) else float(time) for slot, time in zip(chain, known, strict=True)}
    spans = [(at[one.get("TIME_SLOT_REF1", "")], at[one.get("TIME_SLOT_REF2", "")]) for one in found]
    return {one.get("ANNOTATION_ID", ""): span for one, span in zip(found, spans, strict=True)}


def _referring(tier: Element, spans: dict[str, Span]) -> dict[str, Span]:
    """Return start and end of annotations that refer to others: those that share one have equal parts of its time."""
    of: dict[str, list[Element]] = {}
    for one in tier.iterfind("ANNOTATION/REF_ANNOTATION"):
        of.setdefault(one.get("ANNOTATION_REF", ""), []).append(one)
    found: dict[str, Span] = {}
    for parent, children in of.items():
        start, end = spans.get(parent, (None, None))
        for number, child in enumerate(_in_order(children)):
            part = (None, None)
            if start is not None and end is not None:
                step = (end - start) / len(children)
                part = (start + number * step, start + (number + 1) * step)
            found[child.get("ANNOTATION_ID", "")] = part
    return found


def _in_order(children: Sequence[Element]) -> list[Element]:
    """Return annotations so that each follows the one that it names as the previous."""
    ids = {child.get("ANNOTATION_ID", "") for child in children}
    after = {
        child.get("PREVIOUS_ANNOTATION", ""): child for child in children if child.get("PREVIOUS_ANNOTATION") in ids
    }
    ordered: list[Element] = []
    for first in (child for child in children if child.get("PREVIOUS_ANNOTATION") not in ids):
        following: Element | None = first
        while following is not None and len(ordered) < len(children):
            ordered.append(following)
            following = after.get(following.get("ANNOTATION_ID", ""))
    return ordered + [child for child in children if child not in ordered]


def _tier(tier: Element, spans: dict[str, Span]) -> Tier:
    found = []
    for one in tier.iterfind("ANNOTATION/*"):
        start, end = spans.get(one.get("ANNOTATION_ID", ""), (None, None))
        value = " ".join((one.findtext("ANNOTATION_VALUE") or "").split())
        edges = [None if edge is None else edge / 1000 for edge in (start, end)]
        found.append(Annotation(one.get("ANNOTATION_ID", ""), value, edges[0], edges[1]))
    found.sort(key=lambda one: np.inf if one.start is None else one.start)
    return Tier(tier.get("TIER_ID", ""), tier.get("PARTICIPANT", ""), tuple(found))
