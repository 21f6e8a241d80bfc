"""When sweeps run: cron times, slots, leases, and the loop that starts due runs."""
