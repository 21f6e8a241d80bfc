"""Tier 0: what is set up otherwise than asked, found before anybody is accused."""
