"""The auditor: takes exchanges, has them replayed, judges the evidence and signs the verdict."""
