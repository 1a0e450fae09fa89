"""Characters of a clip that nobody sees: they tell apart what reads alike, in texts, glosses, names and paths."""

from collections.abc import Iterable, Iterator

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.text.characters import BLANKS, FOREIGN_BYTES, hidden, told


def hidden_in(clip: Clip, typed_glosses: Iterable[str]) -> Iterator[str]:
    """Yield, field by field, which characters of a clip nobody sees and where they stand.

    In a path the bytes that are no UTF-8 are none of them: they are how its file is called.

    Args:
        clip: What was read.
        typed_glosses: The clip's, as they were typed: such characters are left out on reading.
    """
    for name in ("id", "video", "signer", "split", "text"):
        if found := hidden(getattr(clip, name) or "", FOREIGN_BYTES if name == "video" else ""):
            yield f"{name} holds {told(found)}"
    for gloss in dict.fromkeys(typed_glosses):
        if found := hidden(gloss, BLANKS):
            yield f"gloss {gloss!r} holds {told(found)}"
