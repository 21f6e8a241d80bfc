"""Witnesses: who else has seen the log, and would notice if it were forked.

A witness keeps the largest tree that it has seen of each log, and cosigns a new checkpoint only
after a proof that it continues that tree. `witness` and `server` are our own witness, `client` and
`gather` ask anybody's, by C2SP tlog-witness.
"""
