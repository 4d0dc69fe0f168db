"""Make the film-review splits from the source archive of vaderSentiment 3.3.2, bit for bit.

Fetch the archive, then write the files, or check that the ones here are the ones it makes:

    pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
    python examples/data/make_film_reviews.py vaderSentiment-3.3.2.tar.gz
    python examples/data/make_film_reviews.py vaderSentiment-3.3.2.tar.gz --check
"""

import argparse
import hashlib
import html
import io
import sys
import tarfile
import unicodedata
from pathlib import Path

ROOT = "vaderSentiment-3.3.2"
INNER = f"{ROOT}/additional_resources/hutto_ICWSM_2014.tar.gz"
TABLE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
TABLE_SHA256 = "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350"
BLOCK, CYCLES = 10, 50
PATTERN = "R.R.T.R.V.R.R.T.R.R.R"
SPLITS = {"train": "R", "validation": "V", "test": "T"}
TARGET = Path(__file__).parent / "film-reviews"

Row = tuple[float, str]


def member(archive: tarfile.TarFile, name: str) -> bytes:
    """Return the bytes of one file in an archive."""
    stream = archive.extractfile(name)
    if stream is None:
        raise SystemExit(f"{name} is not a file in the archive")
    return stream.read()


def read_source(archive_path: Path) -> tuple[bytes, bytes]:
    """Return the licence and the table of rated sentences in the source archive."""
    with tarfile.open(archive_path) as outer:
        license_text = member(outer, f"{ROOT}/LICENSE.txt")
        inner_bytes = member(outer, INNER)
    with tarfile.open(fileobj=io.BytesIO(inner_bytes)) as inner:
        table = member(inner, TABLE)
    digest = hashlib.sha256(table).hexdigest()
    if digest != TABLE_SHA256:
        raise SystemExit(f"{TABLE} has SHA-256 {digest}, not {TABLE_SHA256}: is it vaderSentiment 3.3.2?")
    return license_text, table


def clean(text: str) -> str:
    """Undo HTML escapes, compose accents, drop control characters, squeeze white space."""
    text = unicodedata.normalize("NFC", html.unescape(text))
    text = "".join(" " if unicodedata.category(char).startswith("C") else char for char in text)
    return " ".join(text.split())


def parse(table: bytes) -> list[Row]:
    """Return (mean rating, sentence) in the source's order, each sentence once (the first one counts)."""
    rows: dict[str, Row] = {}
    for line in table.decode("utf-8").splitlines():
        _, rating, text = line.split("\t")
        sentence = clean(text)
        rows.setdefault(sentence.casefold(), (float(rating), sentence))
    return list(rows.values())


def split(rows: list[Row]) -> dict[str, list[Row]]:
    """Deal blocks of neighbouring sentences to the splits by the repeated pattern, leaving out the dots."""
    blocks = [rows[start : start + BLOCK] for start in range(0, CYCLES * len(PATTERN) * BLOCK, BLOCK)]
    dealt = list(zip(PATTERN * CYCLES, blocks, strict=True))

    def rows_of(letter: str) -> list[Row]:
        return [row for to, block in dealt if to == letter for row in block]

    return {name: rows_of(letter) for name, letter in SPLITS.items()}


def make(archive_path: Path) -> dict[str, bytes]:
    """Return the content of each file made from the source archive."""
    license_text, table = read_source(archive_path)
    files = {"LICENSE": license_text.replace(b"\r\n", b"\n").rstrip() + b"\n"}
    for name, rows in split(parse(table)).items():
        lines = ["rating\ttext", *(f"{rating:.4f}\t{sentence}" for rating, sentence in rows)]
        files[f"{name}.tsv"] = ("\n".join(lines) + "\n").encode("utf-8")
    return files


def main() -> int:
    """Write the files, or with --check compare them with the ones here."""
    parser = argparse.ArgumentParser(description="Make the film-review splits.")
    parser.add_argument("archive", type=Path, help="vaderSentiment-3.3.2.tar.gz")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    arguments = parser.parse_args()
    different = 0
    for name, content in make(arguments.archive).items():
        path = TARGET / name
        if not arguments.check:
            TARGET.mkdir(exist_ok=True)
            path.write_bytes(content)
        same = path.is_file() and path.read_bytes() == content
        different += not same
        print(f"{name}: {len(content)} bytes, {'as made from the archive' if same else 'DIFFERENT'}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
