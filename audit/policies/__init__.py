"""The bundled policy, as data; `audit.judge.policy` reads it."""
