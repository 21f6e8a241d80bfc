"""Our verdicts in the hands of verifiers that we did not write."""
