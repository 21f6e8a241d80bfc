"""Border probes: requests that sit on a near-tie, so that one token tells much."""
