"""The command, the service and the bundled recordings together, as a user meets them."""
