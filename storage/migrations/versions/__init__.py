"""One file per schema change, oldest first; a published one is never edited."""
