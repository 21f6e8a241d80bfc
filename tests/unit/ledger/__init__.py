"""Tests of the `audit.ledger` package."""
