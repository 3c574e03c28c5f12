"""`python -m rivetr`"""

from rivetr.cli import main

if __name__ == "__main__":
    main()
