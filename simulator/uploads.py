"""Made-up content uploads with realistic text: most harmless, some spam, some toxic, some copied from somebody else.

Pure, like `trips`. The sentences come from `uploads.grammar`, by way of `grammar`: with fewer words and turns than that
holds, uploads look like copies of each other, and the duplicate detector says so.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Literal, NamedTuple

from app.events import AnyUpload, ContentUpdated, ContentUploaded
from simulator.grammar import Writer, upload_rules
from simulator.plan import Life

Sort = Literal["harmless", "spam", "toxic", "copy"]
SORTS: tuple[Sort, ...] = ("harmless", "spam", "toxic", "copy")

UPDATED = 0.08
"""The share of uploaders who correct their text within the hour."""

SPOKEN = 0.25
"""The share of harmless uploads that come with what is said in them, too."""

MIXED = 0.5
"""The share of spam and of toxic texts that hold a harmless sentence."""

_ARTICLE = re.compile(r"\b([Aa]) (?=[aio]|e(?!u)|[AEIO][a-z]|um|honest|hour)(?!one)")


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
    mix: tuple[float, float, float, float] = (0.83, 0.06, 0.06, 0.05)

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
    rules = upload_rules()
    topic = Writer(rules, "", rng).write("topic")
    writer = Writer(rules, topic, rng)
    tags = tuple(writer.several("tag", rng.randrange(2, 7)))
    if sort in ("spam", "toxic"):
        lines = writer.several(sort, rng.randrange(2, 6))
        if rng.random() < MIXED:
            lines.insert(rng.randrange(len(lines) + 1), writer.write("story"))
        return Text(_sentence(writer.write(f"{sort} title")), _prose(lines), tags)
    title = _sentence(writer.write("title"))
    told = _told(writer, rng.randrange(3, 8))
    description = [writer.write("opening"), *told, *writer.several("closing", rng.randrange(3))]
    spoken = writer.several("story", rng.randrange(3, 9)) if rng.random() < SPOKEN else []
    return Text(title, _prose(description), tags, _prose(spoken))


def _told(writer: Writer, count: int) -> list[str]:
    """So many sentences in any order: one on the subject, the rest of what happened."""
    lines = [writer.write("detail"), *writer.several("story", count - 1)]
    writer.rng.shuffle(lines)
    return lines


def copied(original: Text, rng: Random) -> Text:
    """Somebody else's text with small edits: a few words dropped or doubled, another title, a line of one's own."""
    words = original.description.split()
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(words))
        words[place : place + 1] = [] if rng.random() < 0.5 else [words[place]] * 2
    if rng.random() < 0.3:
        words.append(_sentence(Writer(upload_rules(), "", rng).write("remark")))
    title = rng.choice((original.title, original.title, original.title.upper(), f"{original.title} (new)", "Must see!"))
    return original._replace(title=title, description=" ".join(words))


def _prose(lines: list[str]) -> str:
    return " ".join(_sentence(line) for line in lines)


def _sentence(line: str) -> str:
    line = _ARTICLE.sub(r"\1n ", line)
    return line[:1].upper() + line[1:]


def _update(first: ContentUploaded, rng: Random) -> AnyUpload:
    """The uploader mends the description a little later: an opening event of the same subject."""
    writer = Writer(upload_rules(), "", rng)
    return ContentUpdated(
        event_id=f"{first.upload_id}.updated",
        user_id=first.user_id,
        upload_id=first.upload_id,
        at=_milliseconds(first.at + timedelta(minutes=rng.uniform(2, 50))),
        title=first.title,
        description=f"{first.description} {writer.write('edit')}",
        tags=first.tags,
        text=first.text,
    )


def _milliseconds(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
