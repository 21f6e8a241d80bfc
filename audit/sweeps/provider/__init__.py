"""Asks endpoints over HTTP, within a budget, and reads what they say."""
