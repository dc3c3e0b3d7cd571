"""`python -m totes`."""

from totes.cli import main

if __name__ == "__main__":
    main()
