"""Characters of a clip that nobody sees: they tell apart what reads alike, in texts, glosses, names and paths."""

import json
from collections.abc import Iterable, Iterator

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.text.characters import BLANKS, FOREIGN_BYTES, hidden, told


def hidden_in(clip: Clip, line: bytes) -> Iterator[str]:
    """Yield, field by field, which characters of a clip nobody sees and where they stand.

    In a path the bytes that are no UTF-8 are none of them: they are how its file is called.

    Args:
        clip: What was read.
        line: The line of the manifest: of a gloss such characters are left out on reading.
    """
    for name in ("id", "video", "signer", "split", "text"):
        if found := hidden(getattr(clip, name) or "", FOREIGN_BYTES if name == "video" else ""):
            yield f"{name} holds {told(found)}"
    for gloss in dict.fromkeys(_glosses_as_typed(line)):
        if found := hidden(gloss, BLANKS):
            yield f"gloss {gloss!r} holds {told(found)}"


def _glosses_as_typed(line: bytes) -> Iterable[str]:
    if line.isascii() and b"\\u" not in line:
        return ()
    return json.loads(line)["gloss"] or ()
