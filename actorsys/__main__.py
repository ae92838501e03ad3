"""`python -m actorsys` is the command `actorsys`."""

from .cli.main import main

if __name__ == "__main__":
    main()
