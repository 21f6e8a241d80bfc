"""The ledger: a verdict becomes a signed statement that anyone can check without this service."""
