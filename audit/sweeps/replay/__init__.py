"""Tier 1 with natural tokens: seeded and greedy user-like requests, replayed and judged."""
