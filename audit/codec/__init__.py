"""Everything untrusted is read and checked here: recorded traffic, wire messages, limits, digests."""
