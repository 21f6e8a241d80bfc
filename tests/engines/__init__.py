"""Fresh traffic from real engines, recorded during the test run; skipped where there is none."""
