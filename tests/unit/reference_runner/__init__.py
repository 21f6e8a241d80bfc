"""The reference runner, from noise to evidence."""
