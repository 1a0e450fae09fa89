"""A weather report in signs and in German.

Signs come time first, then place, then weather; German puts the verb second and declines. Adverbs of the German
(stark, leicht, sehr, ...) have no gloss: mouth and brows carry them while the modified sign is made.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from slt_pipeline.errors import SltError

ADVERB_SHARE = 0.75
"""Share of sentences with at least one adverb that only the face shows."""

_PATIENCE = 2000  # repeated sentences in a row before the grammar counts as used up


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence: signs, what the face does during each, and the German."""

    gloss: tuple[str, ...]
    mouths: tuple[str, ...]
    """Name of the face (face.FACES) during each sign; `neutral` for an unmodified one."""
    text: str


def write_report(num: int, rng: np.random.Generator, taken: set[str]) -> list[Sentence]:
    """`num` sentences whose texts are not in `taken` and differ from each other.

    Raises:
        SltError: the grammar has too few sentences for that.
    """
    sentences, seen, misses = [], set(taken), 0
    while len(sentences) < num:
        sentence = _sentence(rng, len(sentences) % 20 < round(20 * ADVERB_SHARE))
        if sentence.text not in seen:
            seen.add(sentence.text)
            sentences.append(sentence)
            misses = 0
            continue
        misses += 1
        if misses == _PATIENCE:
            raise SltError(
                f"the weather grammar ran out after {len(sentences)} of {num} new sentences; "
                "ask for fewer (num_train, num_dev, num_test)"
            )
    return [sentences[i] for i in rng.permutation(num)]


_DAYS = {
    "HEUTE": "heute",
    "MORGEN": "morgen",
    "MONTAG": "am montag",
    "DIENSTAG": "am dienstag",
    "MITTWOCH": "am mittwoch",
    "DONNERSTAG": "am donnerstag",
    "FREITAG": "am freitag",
    "SAMSTAG": "am samstag",
    "SONNTAG": "am sonntag",
    "WOCHENENDE": "am wochenende",
}
_TIMES = {"FRUEH": "früh", "MITTAG": "mittags", "ABEND": "abends", "NACHT": "nachts"}
_REGIONS = {
    "NORD": "im norden",
    "SUED": "im süden",
    "WEST": "im westen",
    "OST": "im osten",
    "MITTE": "in der mitte",
    "ALPEN": "in den alpen",
    "KUESTE": "an der küste",
    "DEUTSCHLAND": "in deutschland",
}
_ORIGINS = {"NORD": "norden", "SUED": "süden", "WEST": "westen", "OST": "osten"}
_WEATHER = {  # object of "gibt es": plain, strong, light
    "REGEN": ("regen", "starken regen", "leichten regen"),
    "SCHNEE": ("schnee", "starken schnee", "leichten schnee"),
    "GEWITTER": ("gewitter", "kräftige gewitter", "schwache gewitter"),
    "NEBEL": ("nebel", "dichten nebel", "leichten nebel"),
    "WIND": ("wind", "starken wind", "schwachen wind"),
    "STURM": ("sturm", "schweren sturm", "leichten sturm"),
    "SCHAUER": ("schauer", "kräftige schauer", "leichte schauer"),
    "FROST": ("frost", "strengen frost", "leichten frost"),
    "HAGEL": ("hagel", "starken hagel", "leichten hagel"),
    "WOLKE": ("wolken", "dichte wolken", "lockere wolken"),
    "SONNE": ("sonne", "viel sonne", "wenig sonne"),
}
_PROPERTIES = {
    "KALT": "kalt",
    "WARM": "warm",
    "HEISS": "heiß",
    "TROCKEN": "trocken",
    "NASS": "nass",
    "KLAR": "klar",
    "GLATT": "glatt",
    "WECHSEL": "wechselhaft",
}
_NUMBERS = {
    "NULL": "null",
    "FUENF": "fünf",
    "ZEHN": "zehn",
    "FUENFZEHN": "fünfzehn",
    "ZWANZIG": "zwanzig",
    "DREISSIG": "dreißig",
}
_TRENDS = {"STEIGEN": "steigen", "SINKEN": "sinken"}
_PRESSURE = {"HOCH": "hoch", "TIEF": "tief"}


class _Draft:
    """Signs of a sentence in the making, and how often an adverb was possible and used."""

    def __init__(self, rng: np.random.Generator, adverb: bool):
        self.rng = rng
        self.adverb = adverb
        self.gloss: list[str] = []
        self.mouths: list[str] = []

    def pick(self, table: dict, *, but: str | None = None) -> str:
        names = [name for name in table if name != but]
        return names[int(self.rng.integers(len(names)))]

    def sign(self, *glosses: str) -> None:
        self.gloss += glosses
        self.mouths += ["neutral"] * len(glosses)

    def modified(self, gloss: str, *mouths: str) -> str:
        """Add a sign whose face may carry one of `mouths`; gives the one drawn."""
        mouth = "neutral"
        if self.adverb and self.rng.random() < 0.8:
            mouth = mouths[int(self.rng.integers(len(mouths)))]
        self.gloss.append(gloss)
        self.mouths.append(mouth)
        return mouth

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)


def _sentence(rng: np.random.Generator, adverb: bool) -> Sentence:
    """One sentence of 3 to 8 signs, with at least one adverb or with none."""
    while True:
        draft = _Draft(rng, adverb)
        text = _CLAUSES[int(rng.choice(len(_CLAUSES), p=_SHARES))](draft)
        has_adverb = any(mouth != "neutral" for mouth in draft.mouths)
        if has_adverb == adverb and 3 <= len(draft.gloss) <= 8:
            return Sentence(tuple(draft.gloss), tuple(draft.mouths), f"{text} .")


def _time(draft: _Draft) -> str:
    day = draft.pick(_DAYS)
    draft.sign(day)
    if not draft.chance(0.3):
        return _DAYS[day]
    time = draft.pick(_TIMES)
    draft.sign(time)
    return f"{_DAYS[day]} {_TIMES[time]}"


def _weather(draft: _Draft, *, but: str | None = None) -> tuple[str, str]:
    """The sign and its German object, with the adverb of the face in it."""
    gloss = draft.pick(_WEATHER, but=but)
    mouth = draft.modified(gloss, "stark", "stark", "leicht", "leicht", "vielleicht", "wieder")
    plain, strong, light = _WEATHER[gloss]
    words = {"stark": strong, "leicht": light, "vielleicht": f"vielleicht {plain}", "wieder": f"immer wieder {plain}"}
    return gloss, words.get(mouth, plain)


def _property(draft: _Draft) -> str:
    gloss = draft.pick(_PROPERTIES)
    mouth = draft.modified(gloss, "sehr", "sehr", "leicht", "vielleicht", "wieder")
    words = {"sehr": "sehr ", "leicht": "etwas ", "vielleicht": "vielleicht ", "wieder": "immer wieder "}
    return words.get(mouth, "") + _PROPERTIES[gloss]


def _there_is(draft: _Draft) -> str:
    when = _time(draft)
    where = draft.pick(_REGIONS)
    draft.sign(where)
    gloss, what = _weather(draft)
    if draft.chance(0.3):
        draft.sign("AUCH")
        what += f" und auch {_weather(draft, but=gloss)[1]}"
    return f"{when} gibt es {_REGIONS[where]} {what}"


def _here_and_there(draft: _Draft) -> str:
    when = _time(draft)
    first = draft.pick(_REGIONS)
    draft.sign(first)
    gloss, what = _weather(draft)
    second = draft.pick(_REGIONS, but=first)
    if draft.chance(0.5):
        draft.sign("ABER")
        link = "aber"
    else:
        link = "und"
    draft.sign(second)
    other = _weather(draft, but=gloss)[1]
    return f"{when} gibt es {_REGIONS[first]} {what} {link} {_REGIONS[second]} {other}"


def _it_is(draft: _Draft) -> str:
    where = draft.pick(_REGIONS)
    draft.sign(where)
    when = _time(draft)
    what = _property(draft)
    if draft.chance(0.4):
        draft.sign("DANN")
        return f"{when} ist es {_REGIONS[where]} {what} und dann kommt {_nominative(draft)}"
    return f"{when} ist es {_REGIONS[where]} {what}"


def _nominative(draft: _Draft) -> str:
    gloss = draft.pick(dict.fromkeys(("REGEN", "SCHNEE", "WIND")))
    mouth = draft.modified(gloss, "stark", "leicht", "vielleicht")
    plain, strong, light = _WEATHER[gloss]
    words = {"stark": strong.replace("en ", "er ", 1), "leicht": light.replace("en ", "er ", 1)}
    return words.get(mouth, f"vielleicht {plain}" if mouth == "vielleicht" else plain)


def _degrees(draft: _Draft) -> str:
    when = _time(draft)
    where = draft.pick(_REGIONS)
    draft.sign(where)
    what = _property(draft)
    draft.sign("TEMPERATUR")
    minus = draft.chance(0.2)
    if minus:
        draft.sign("MINUS")
    low = draft.pick(_NUMBERS)
    draft.sign(low, "GRAD")
    degrees = ("minus " if minus else "") + _NUMBERS[low]
    return f"{when} ist es bei {degrees} grad {_REGIONS[where]} {what}"


def _range(draft: _Draft) -> str:
    where = draft.pick(_REGIONS)
    draft.sign(where)
    numbers = list(_NUMBERS)
    low = int(draft.rng.integers(len(numbers) - 1))
    draft.sign("TEMPERATUR", numbers[low], "BIS", numbers[low + 1])
    what = _property(draft)
    return f"{_REGIONS[where]} {what} bei {_NUMBERS[numbers[low]]} bis {_NUMBERS[numbers[low + 1]]} grad"


def _trend(draft: _Draft) -> str:
    when = _time(draft)
    draft.sign("TEMPERATUR")
    trend = draft.pick(_TRENDS)
    mouth = draft.modified(trend, "stark", "leicht", "wieder", "vielleicht")
    words = {"stark": " stark", "leicht": " leicht", "wieder": " immer wieder", "vielleicht": " vielleicht"}
    where = ""
    if draft.chance(0.6):
        region = draft.pick(_REGIONS)
        draft.sign(region)
        where = f" {_REGIONS[region]}"
    return f"{when} {_TRENDS[trend]} die temperaturen{where}{words.get(mouth, '')}"


def _arrives(draft: _Draft) -> str:
    origin = draft.pick(_ORIGINS)
    draft.sign(origin)
    pressure = draft.pick(_PRESSURE)
    mouth = draft.modified(pressure, "stark", "leicht")
    words = {"stark": "kräftiges ", "leicht": "schwaches "}
    moves = draft.chance(0.5)
    draft.sign("ZIEHEN" if moves else "KOMMEN")
    when = _time(draft)
    verb = "zieht" if moves else "kommt"
    return f"{when} {verb} ein {words.get(mouth, '')}{_PRESSURE[pressure]} von {_ORIGINS[origin]}"


def _stays(draft: _Draft) -> str:
    pressure = draft.pick(_PRESSURE)
    draft.sign(pressure, "BLEIBEN")
    where = draft.pick(_REGIONS)
    draft.sign(where)
    when = _time(draft)
    what = _property(draft)
    return f"das {_PRESSURE[pressure]} bleibt {_REGIONS[where]} und {when} ist es {what}"


def _wind(draft: _Draft) -> str:
    mouth = draft.modified("WIND", "stark", "leicht", "wieder")
    origin = draft.pick(_ORIGINS)
    draft.sign("KOMMEN" if draft.chance(0.5) else "ZIEHEN", origin)
    when = _time(draft)
    words = {"stark": "starker wind", "leicht": "schwacher wind", "wieder": "immer wieder wind"}
    verb = "kommt" if draft.gloss[1] == "KOMMEN" else "zieht"
    return f"{when} {verb} {words.get(mouth, 'wind')} aus {_ORIGINS[origin]}"


_CLAUSES: tuple[Callable[[_Draft], str], ...] = (
    _there_is,
    _here_and_there,
    _it_is,
    _degrees,
    _range,
    _trend,
    _arrives,
    _stays,
    _wind,
)
_SHARES = np.array([0.2, 0.18, 0.14, 0.1, 0.06, 0.1, 0.08, 0.08, 0.06])
