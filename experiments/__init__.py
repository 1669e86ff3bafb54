"""Paired multi-seed comparisons of agents: `python -m experiments --help`."""
