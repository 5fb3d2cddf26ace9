"""``python -m dumpscan`` is the command line."""

from dumpscan.cli.main import main

if __name__ == "__main__":
    main()
