"""Deterministic orchestration only: no clock, no network, no file, no randomness of its own."""
