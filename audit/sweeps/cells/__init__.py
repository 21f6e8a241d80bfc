"""Tier 4 without weights: which first word comes to a few short prompts, and how often."""
