"""`python -m mattestream`: the same as the command `mattestream`."""

from mattestream.cli import main

if __name__ == "__main__":
    main()
