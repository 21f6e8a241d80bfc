"""Turns the readings of one run into findings; pure functions of readings and policy."""
