"""``python -m heatfleet`` is the command ``heatfleet``."""

from heatfleet.cli import main

if __name__ == "__main__":
    main()
