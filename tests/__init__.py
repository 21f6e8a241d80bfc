"""Tests of the inference audit."""
