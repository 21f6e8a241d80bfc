"""Tier 2: what the returned log-probabilities say about the model behind them."""
