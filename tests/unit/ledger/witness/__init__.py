"""Tests of the witness, and of those who ask it."""
