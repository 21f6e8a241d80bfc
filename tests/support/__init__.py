"""Builders and slow twins that several test packages share."""
