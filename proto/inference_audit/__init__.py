"""Generated protobuf modules of the inference audit service."""
