"""What can go wrong in the reference runner.

RunnerError
├── CheckpointError      the folder is no readable checkpoint
├── UnsupportedProfile   no sampler profile of that name, or it cannot run here
└── BadSequence          the token sequence cannot be replayed on this model
"""


class RunnerError(Exception):
    """Base of all errors of the reference runner; its text tells the user what to do next."""


class CheckpointError(RunnerError):
    """The checkpoint folder is missing, incomplete or unreadable."""


class UnsupportedProfile(RunnerError):
    """The sampler profile is unknown, or its known-answer test failed on this machine."""


class BadSequence(RunnerError):
    """The token sequence cannot be replayed.

    `code` names why, in the words of the verdict's reasons.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)
