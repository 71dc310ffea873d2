"""Made-up content uploads with realistic text: most harmless, some spam, some toxic, some copied from somebody else.

Pure, like `trips`; the words are in `vocabulary`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Literal, NamedTuple

from app.events import AnyUpload, ContentUpdated, ContentUploaded
from simulator.plan import Life
from simulator.vocabulary import (
    ADJECTIVES,
    ASIDES,
    CATEGORIES,
    NAMES,
    PLACES,
    SPAM_TEXTS,
    SPAM_TITLES,
    TOXIC_TEXTS,
    TOXIC_TITLES,
)

Sort = Literal["harmless", "spam", "toxic", "copy"]
SORTS: tuple[Sort, ...] = ("harmless", "spam", "toxic", "copy")

UPDATED = 0.08
"""The share of uploaders who correct their text within the hour."""


class Text(NamedTuple):
    """What an upload says."""

    title: str
    description: str
    tags: tuple[str, ...]
    text: str = ""


@dataclass(frozen=True)
class UploadMaker:
    """Makes the life of upload number n; see `plan.MakeLife`.

    A copy is of an earlier upload of the same run, which is made anew from its number: nothing is remembered, so the
    n-th upload is the same whoever asks for it.

    Attributes:
        run: sets the ids of one run apart from those of every other.
        seed: the seed of the run; finds the originals of copies.
        users: how many uploaders there are.
        mix: shares of harmless, spam, toxic and copied uploads.
    """

    run: str
    seed: int = 0
    users: int = 200
    mix: tuple[float, float, float, float] = (0.80, 0.07, 0.06, 0.07)

    def __call__(self, number: int, at: datetime, rng: Random) -> Life:
        user = self._author(number)
        text = self._text(number, user, rng)
        upload_id = f"u-{self.run}-{number}"
        first = ContentUploaded(
            event_id=f"{upload_id}.uploaded",
            user_id=f"creator-{user}",
            upload_id=upload_id,
            at=_milliseconds(at),
            **text._asdict(),
        )
        return (first, _update(first, rng)) if rng.random() < UPDATED else (first,)

    def sort(self, number: int) -> Sort:
        """What upload n is; the first few are never copies, there being nothing to copy."""
        sort = Random(f"{self.seed}/{number}/sort").choices(SORTS, self.mix)[0]
        return "harmless" if sort == "copy" and number < 10 else sort

    def _text(self, number: int, user: int, rng: Random) -> Text:
        sort = self.sort(number)
        if sort == "copy" and (original := self._original(number, user, rng)):
            return copied(original, rng)
        return written(sort, Random(f"{self.seed}/{number}/text"))

    def _author(self, number: int) -> int:
        return Random(f"{self.seed}/{number}/author").randrange(self.users)

    def _original(self, number: int, user: int, rng: Random) -> Text | None:
        """The text of a harmless upload by another user, among the 500 before this one."""
        for _ in range(20):
            source = rng.randrange(max(0, number - 500), number)
            if self._author(source) != user and self.sort(source) == "harmless":
                return written("harmless", Random(f"{self.seed}/{source}/text"))
        return None


def written(sort: Sort, rng: Random) -> Text:
    """A new text of this sort."""
    category = CATEGORIES[rng.choice(tuple(CATEGORIES))]
    words = {
        "thing": rng.choice(category.things),
        "place": rng.choice(PLACES),
        "adjective": rng.choice(ADJECTIVES),
        "tag": rng.choice(category.tags),
    }
    tags = tuple(rng.sample(category.tags, rng.randrange(2, 5)))
    if sort == "spam":
        return Text(_fill(rng.choice(SPAM_TITLES), words), _fill(rng.choice(SPAM_TEXTS), words), tags)
    if sort == "toxic":
        return Text(_fill(rng.choice(TOXIC_TITLES), words), _fill(rng.choice(TOXIC_TEXTS), words), tags)
    about = _fill(rng.choice(category.descriptions), words)
    return Text(_fill(rng.choice(category.titles), words), f"{about} {_chat(rng)}", tags)


def _chat(rng: Random) -> str:
    """What people add to every description: a few of the asides, about other places and people each time."""
    asides = rng.sample(ASIDES, rng.randrange(3, 8))
    return " ".join(
        aside.format(
            name=rng.choice(NAMES), place=rng.choice(PLACES), count=rng.randrange(2, 60), year=rng.randrange(2005, 2025)
        )
        for aside in asides
    )


def copied(original: Text, rng: Random) -> Text:
    """Somebody else's text with small edits: two words dropped or doubled, perhaps another title."""
    words = original.description.split()
    for _ in range(2):
        place = rng.randrange(len(words))
        words[place : place + 1] = [] if rng.random() < 0.5 else [words[place]] * 2
    title = rng.choice((original.title, original.title.upper(), f"{original.title} (new)"))
    return original._replace(title=title, description=" ".join(words))


def _fill(template: str, words: dict[str, str]) -> str:
    text = template.format_map(words)
    return text[:1].upper() + text[1:]


def _update(first: ContentUploaded, rng: Random) -> AnyUpload:
    """The uploader mends the description a little later: an opening event of the same subject."""
    return ContentUpdated(
        event_id=f"{first.upload_id}.updated",
        user_id=first.user_id,
        upload_id=first.upload_id,
        at=_milliseconds(first.at + timedelta(minutes=rng.uniform(2, 50))),
        title=first.title,
        description=f"{first.description} Edit: thank you for all the comments!",
        tags=first.tags,
        text=first.text,
    )


def _milliseconds(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
