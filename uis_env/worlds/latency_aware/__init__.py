"""The latency- and token-aware world, simulated."""

from uis_env.worlds.latency_aware.world import latency_aware

__all__ = ["latency_aware"]
