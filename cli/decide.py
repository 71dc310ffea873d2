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

    from app.embedded import attached
    from app.settings import read_settings
    from decision import worker

    uvloop.run(worker.run(attached(read_settings())))
