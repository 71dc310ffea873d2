"""The one error tree. Attributes carry the facts, the message says what to do; the gateway maps these to HTTP."""


class MillraceError(Exception):
    """Base of everything Millrace raises on purpose."""


class ConfigurationError(MillraceError):
    """A setting that cannot be honoured: raised at start, never ignored."""


class TopicMismatch(ConfigurationError):
    """A topic exists in a shape the topics table does not allow."""

    def __init__(self, topic: str, problem: str, remedy: str) -> None:
        self.topic, self.problem, self.remedy = topic, problem, remedy
        super().__init__(f"topic {topic!r}: {problem}; {remedy}")


class InvalidMessage(MillraceError):
    """A message that does not match its definition.

    Attributes:
        field: JSON path of the offending field (`pickup.lat`), empty for the whole message.
        problem: what is wrong with it, in a sentence without the value.
    """

    def __init__(self, problem: str, field: str = "") -> None:
        self.problem, self.field = problem, field
        super().__init__(f"{field}: {problem}" if field else problem)


class UnknownMessage(InvalidMessage):
    """A message whose type or version nobody here defines."""


class ArtifactError(MillraceError):
    """A model artifact that is missing, altered, or not the one the registry recorded."""


class ServiceUnavailable(MillraceError):
    """A part we depend on does not answer; trying again later may help.

    Attributes:
        part: "kafka", "redis" or "database".
        retry_after_s: a sensible wait before the next try, seconds.
    """

    def __init__(self, part: str, problem: str, retry_after_s: float = 1.0) -> None:
        self.part, self.problem, self.retry_after_s = part, problem, retry_after_s
        super().__init__(f"{part}: {problem}")


class TooFewBrokers(ServiceUnavailable):
    """Fewer brokers are up than a topic is to have replicas: perhaps the others are just starting.

    Attributes:
        up: how many; `None` where only the controller knows.
    """

    def __init__(self, wanted: int, up: int | None) -> None:
        self.up = up
        seen = "too few brokers are" if up is None else "1 broker is" if up == 1 else f"{up} brokers are"
        super().__init__(
            "kafka", f"{seen} up, and MILLRACE_REPLICATION={wanted} takes {wanted}: start more, or lower it"
        )


class DeliveryFailed(ServiceUnavailable):
    """Kafka did not acknowledge a record in time: its fate is unknown, so send it again with the same event id."""

    def __init__(self, problem: str) -> None:
        super().__init__("kafka", problem)


class TooManyEvents(MillraceError):
    """As many events as may be on their way to Kafka are so already; of what was refused nothing was sent.

    Attribute `retry_after_s`: a sensible wait before the next try, seconds.
    """

    retry_after_s = 2.0

    def __init__(self) -> None:
        super().__init__("too many events are on their way already; none of these was sent: send the same again later")


class AskingFailed(MillraceError):
    """A synchronous question got no answer; its subclasses say why. Attribute `agent`: who was asked."""

    def __init__(self, agent: str, problem: str) -> None:
        self.agent, self.problem = agent, problem
        super().__init__(f"{agent}: {problem}")


class DeadlineExceeded(AskingFailed):
    """No answer by the deadline. The work is dropped unscored where it has not begun."""


class NotServed(AskingFailed):
    """No worker serves this agent now. Attribute `retry_after_s`: a sensible wait before the next try, seconds."""

    retry_after_s = 2.0  # a supervisor has a worker back within a second or two


class Overloaded(AskingFailed):
    """As many questions as may wait are waiting already. Attribute `retry_after_s`: as in `NotServed`."""

    retry_after_s = 1.0


class TooLarge(AskingFailed):
    """More rows or bytes than one question may have: ask in parts."""


class NotAnswered(AskingFailed):
    """The worker could not read the question, or not send its answer: asking the same again will not help."""
