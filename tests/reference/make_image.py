"""Write the CMYK photo that the Rust tests read, and check what Pillow sees in it.

    python make_image.py     ../fixtures/images/cmyk.jpg

It has eight columns of eight pixels, and Pillow saves four channels inverted, with Adobe's marker.
"""

from make_fixtures import DEFAULT_OUT
from PIL import Image

# Ink from 0 to 255 of each column, and the colour that `CMYK_COLOURS` in data/src/image.rs has for it.
COLUMNS = {
    (0, 0, 0, 0): (255, 255, 255),
    (0, 0, 0, 255): (0, 0, 0),
    (0, 255, 255, 0): (255, 0, 0),
    (255, 0, 255, 0): (0, 255, 0),
    (255, 255, 0, 0): (0, 0, 255),
    (0, 0, 255, 0): (255, 255, 0),
    (0, 0, 0, 127): (128, 128, 128),
    (0, 80, 160, 55): (200, 137, 75),
}
WIDTH, HEIGHT = 64, 16


def write(path):
    """Write the photo."""
    inks = list(COLUMNS)
    image = Image.new("CMYK", (WIDTH, HEIGHT))
    image.putdata([inks[x // 8] for _ in range(HEIGHT) for x in range(WIDTH)])
    image.save(path, quality=90)
    seen = Image.open(path).convert("RGB")
    for number, colour in enumerate(COLUMNS.values()):
        found = seen.getpixel((8 * number + 4, 8))
        assert found == colour, f"column {number} is {found}, not {colour}"


if __name__ == "__main__":
    write(DEFAULT_OUT / "images" / "cmyk.jpg")
