"""Customers made up and read from a log, in the source database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from app.errors import ConfigurationError
from app.jobs.customers import customers, open_customers, purchases
from simulator.customers import People, fill, load_log

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=365)


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = open_customers(database)
    yield engine
    engine.dispose()


def quiet(_: int) -> None:
    """Nobody watches."""


def test_made_up_customers_behave_like_cdnows(engine: Engine) -> None:
    assert fill(engine, People(5000, START, END, seed=3), quiet)[0] == 5000
    with engine.connect() as connection:
        per_customer = connection.execute(
            select(purchases.c.customer_id, func.count().label("n"), func.avg(purchases.c.usd).label("usd")).group_by(
                purchases.c.customer_id
            )
        ).all()
        first, last = connection.execute(select(func.min(purchases.c.at), func.max(purchases.c.at))).one()
        before = connection.execute(
            select(func.count()).select_from(purchases.join(customers)).where(purchases.c.at < customers.c.joined_at)
        ).scalar_one()
    assert len(per_customer) == 5000  # a customer is one because they bought something
    once = sum(row.n == 1 for row in per_customer) / 5000
    mean = sum(row.n for row in per_customer) / 5000
    assert 0.45 < once < 0.65  # 55 % in CDNOW's year
    assert 1.9 < mean < 2.9  # 2.41
    assert 25 < sum(row.usd for row in per_customer) / 5000 < 45  # $34
    assert START <= first < last < END
    assert before == 0


def test_the_same_seed_makes_the_same_customers(tmp_path: Path) -> None:
    def made(name: str, seed: int) -> list[tuple[object, ...]]:
        engine = open_customers(f"sqlite:///{tmp_path / name}")
        fill(engine, People(50, START, END, seed), quiet)
        with engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(select(purchases).order_by(purchases.c.purchase_id))]
        engine.dispose()
        return found

    assert made("a.db", 1) == made("b.db", 1) != made("c.db", 2)


def test_a_log_becomes_customers_and_purchases(engine: Engine, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("customer_id,date,cds,usd\nb,1997-02-01,2,20.5\na,1997-01-05,1,0.0\nb,1997-01-02,1,9.99\n")
    assert load_log(engine, log, quiet) == (2, 3)
    with engine.connect() as connection:
        joined = dict(connection.execute(select(customers.c.customer_id, customers.c.joined_at)).all())
    assert joined == {"a": datetime(1997, 1, 5, tzinfo=UTC), "b": datetime(1997, 1, 2, tzinfo=UTC)}
    with pytest.raises(ConfigurationError, match="holds 2 customers already"):
        load_log(engine, log, quiet)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("when,what\n", "customer_id,date,cds,usd"),
        ("customer_id,date,cds,usd\na,1997-01-05,1\n", "line 2"),
        ("customer_id,date,cds,usd\na,1997-01-05,1,2.0\na,yesterday,1,2.0\n", "line 3.*yesterday"),
        ("", "customer_id,date,cds,usd"),
    ],
)
def test_a_log_that_is_none_is_refused_whole(tmp_path: Path, content: str, said: str) -> None:
    engine = open_customers(f"sqlite:///{tmp_path / 'customers.db'}")
    log = tmp_path / "log.csv"
    log.write_text(content)
    with pytest.raises(ConfigurationError, match=said):
        load_log(engine, log, quiet)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(customers)).scalar_one() == 0
    engine.dispose()


def test_a_database_that_is_somebody_elses_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'theirs.db'}"
    engine = open_customers(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE customers DROP COLUMN may_contact")
    engine.dispose()
    with pytest.raises(ConfigurationError, match="MILLRACE_CUSTOMERS: the table customers has no column may_contact"):
        open_customers(url)


def test_customers_need_a_past() -> None:
    with pytest.raises(ConfigurationError, match="--start 2027-01-01"):
        People(10, END, START)
