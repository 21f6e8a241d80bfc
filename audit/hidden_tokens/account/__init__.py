"""The ledger of evidence of one account: bets over requests, a ratio with bounds, and a finding."""
