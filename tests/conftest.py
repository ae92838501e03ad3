"""What holds for every test: it leaves nothing behind."""

from actorsys.testing.leaks import marked_run, no_leaks

__all__ = ["no_leaks", "marked_run"]
