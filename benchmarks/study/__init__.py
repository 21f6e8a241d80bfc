"""Studies of what audits see, each with a function that runs it."""
