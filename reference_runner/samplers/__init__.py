"""How real engines turn (seed, parameters, position, logits) into a token.

Versioned sampler profiles.
"""
