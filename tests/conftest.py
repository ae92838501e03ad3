"""What holds for every test: it leaves nothing behind, and how fast this machine is decides nothing."""

from hypothesis import HealthCheck, settings

from actorsys.testing.leaks import marked_run, no_leaks

__all__ = ["no_leaks", "marked_run"]

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
