"""Adapters to other libraries. Each module imports its library when it is imported; `import uis_env` imports none."""
