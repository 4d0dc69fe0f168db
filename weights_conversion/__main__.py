"""`python -m weights_conversion`, and the console script `weights-conversion`."""

import sys
from typing import NoReturn

try:
    from weights_conversion.cli import command
except ModuleNotFoundError as error:
    if error.name != "click":
        raise
    sys.exit("error: the command line needs click: pip install 'adapterzoo[cli]'")


def run() -> NoReturn:
    """The process."""
    command()


if __name__ == "__main__":
    run()
