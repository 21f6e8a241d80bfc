"""Everything untrusted is read and checked here.

Recorded traffic, wire messages, limits, digests.
"""
