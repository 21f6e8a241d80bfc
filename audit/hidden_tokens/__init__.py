"""Hidden reasoning tokens: what was billed, against every evidence there is."""
