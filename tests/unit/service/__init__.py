"""Tests of the gRPC service."""
