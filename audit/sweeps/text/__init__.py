"""Tier 3: what the text of answers says, with the claimed weights at hand."""
