"""`millrace decide`: the decision worker."""


def decide() -> None:
    """Join predictions by ride and upload, decide by the policy, and tell the user.

    Start as many as there are partitions: they share the subjects. State lives in the database, so one may be killed at
    any time.

    Examples:

      millrace decide

      MILLRACE_KAFKA=broker:9092 MILLRACE_DATABASE=postgresql+psycopg://... millrace decide
    """
    import uvloop

    from app.settings import read_settings
    from cli.services import attached
    from decision import worker

    with attached(read_settings()) as settings:
        uvloop.run(worker.run(settings))
