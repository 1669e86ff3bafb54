"""UniScale's tree-search world, simulated."""

from uis_env.worlds.tree_search.world import COST_SENSITIVE, QUALITY_PRIORITY, tree_search

__all__ = ["COST_SENSITIVE", "QUALITY_PRIORITY", "tree_search"]
