"""The trusted reference model: token sequences in, evidence out; it knows nothing of audits."""
