"""Makes docs/front.png, the README's first picture: `python docs/front.py`.

On the left are the digits of docs/mnist_samples.png, on the right samples of four games in the first tutorial, out of
its stored outputs; `jupyter execute --inplace docs/tutorials/*.ipynb` makes those anew.
"""

import base64
import io
import json
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent


def strip() -> Image.Image:
    """Returns the last picture of several games in the tutorial."""
    cells = json.loads((DOCS / "tutorials" / "first_gan.ipynb").read_text())["cells"]
    shown = [
        output["data"]["image/png"]
        for cell in cells
        for output in cell.get("outputs", ())
        if "film.strip" in "".join(cell["source"]) and "image/png" in output.get("data", {})
    ]
    return Image.open(io.BytesIO(base64.b64decode("".join(shown[-1]))))


def main() -> None:
    """Puts both side by side."""
    games, digits = strip().convert("RGB"), Image.open(DOCS / "mnist_samples.png").convert("RGB")
    digits = digits.resize((games.height, games.height), Image.Resampling.LANCZOS)
    front = Image.new("RGB", (digits.width + 24 + games.width, games.height), "white")
    front.paste(digits, (0, 0))
    front.paste(games, (digits.width + 24, 0))
    front.quantize(64).save(DOCS / "front.png", optimize=True)


if __name__ == "__main__":
    main()
