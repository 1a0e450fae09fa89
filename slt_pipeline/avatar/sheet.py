"""The contact sheet: a few frames of every sign, of every face and of every signer, with captions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from slt_pipeline.avatar.draw import Stage
from slt_pipeline.avatar.face import face
from slt_pipeline.avatar.lexicon import Sign
from slt_pipeline.avatar.motion import rest, stroke
from slt_pipeline.avatar.signer import Signer
from slt_pipeline.files import replacing

_MOMENTS = (0.0, 0.35, 0.65, 1.0)  # parts of the stroke that the sheet shows
_COLUMNS = 4
_CAPTION = 16
_PAPER, _INK = (255, 255, 255), (20, 20, 20)


def draw_sheet(
    signs: Mapping[str, Sign], faces: Mapping[str, np.ndarray], signers: Sequence[Signer], width: int, height: int
) -> Image.Image:
    """Faces and signers above, then each gloss by one signer at four moments; small frames are shown twice as large."""
    zoom = 2 if max(width, height) <= 128 else 1
    cells = [(name, [_pose_frame(signers[0], values, width, height)]) for name, values in faces.items()]
    cells += [(signer.name, [_pose_frame(signer, face("neutral"), width, height)]) for signer in signers[:12]]
    stage = Stage(signers[0], width, height)
    shown = [(gloss, _sign_frames(stage, sign)) for gloss, sign in signs.items()]
    frame = (width * zoom, height * zoom + _CAPTION)
    across = _COLUMNS * len(_MOMENTS)
    rows = [*_rows(cells, across), *_rows(shown, _COLUMNS)]
    sheet = Image.new("RGB", (across * frame[0], len(rows) * frame[1]), _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for top, row in enumerate(rows):
        left = 0
        for caption, images in row:
            pen.text((left + 3, top * frame[1] + 1), caption, fill=_INK, font=font)
            for image in images:
                tile = Image.fromarray(image).resize((width * zoom, height * zoom), Image.Resampling.NEAREST)
                sheet.paste(tile, (left, top * frame[1] + _CAPTION))
                left += frame[0]
    return sheet


def write_sheet(path: Path, sheet: Image.Image) -> None:
    """Save as PNG, atomically."""
    with replacing(path) as scratch:
        sheet.save(scratch, format="PNG")


def _rows(cells: list, across: int) -> list[list]:
    return [cells[first : first + across] for first in range(0, len(cells), across)]


def _pose_frame(signer: Signer, values: np.ndarray, width: int, height: int) -> np.ndarray:
    return Stage(signer, width, height).draw(rest(), values)


def _sign_frames(stage: Stage, sign: Sign) -> list[np.ndarray]:
    states = stroke(sign, 25)
    return [stage.draw(states[round(moment * 24)], face("neutral")) for moment in _MOMENTS]
