"""What tests of video share."""

import pytest
from PIL import Image


@pytest.fixture
def picture_folder():
    """Write pictures as a folder of PNG files."""

    def write(folder, pictures):
        folder.mkdir()
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / f"{number}.png")
        return folder

    return write
