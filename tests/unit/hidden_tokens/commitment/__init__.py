"""Tests of the commitment to hidden tokens."""
