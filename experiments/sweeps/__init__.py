"""Sweeps over preferences: every agent at every price of tokens and seconds, on one common set of questions."""
