"""``python -m bootcfleet``."""

from bootcfleet.cli.app import main

if __name__ == "__main__":
    main()
