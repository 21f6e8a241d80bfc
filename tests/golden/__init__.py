"""Golden values: what a change must not move unnoticed."""
