"""Orchestration only: what runs after what, with which limits."""
