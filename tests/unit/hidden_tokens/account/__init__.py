"""Tests of the ledger of evidence of one account."""
