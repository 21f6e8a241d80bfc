"""The gRPC service: takes exchanges, stores them durably and reports on their audits."""
