"""What can keep a simulation from starting, as sentences that say what to do."""

from pathlib import Path

from app.errors import ConfigurationError, MillraceError


class UnreadableRecording(ConfigurationError):
    """A file that holds no events we can replay."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"cannot replay {path}: {problem}")


class NoGateway(MillraceError):
    """Nobody answers at the gateway's address."""

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = url, problem
        super().__init__(f"no gateway at {url} ({problem}); start one with `millrace up`, or name another with --url")


class AccessRefused(MillraceError):
    """The gateway does not take our tokens."""

    def __init__(self, url: str, problem: str) -> None:
        self.url, self.problem = url, problem
        super().__init__(
            f"the gateway at {url} refuses the token ({problem}); run with its MILLRACE_AUTH_SECRET or MILLRACE_DATA_DIR"
        )
