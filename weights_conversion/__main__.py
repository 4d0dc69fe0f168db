"""`python -m weights_conversion`."""

from weights_conversion.cli import command

if __name__ == "__main__":
    command()
