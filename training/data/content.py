"""The content data sets: short texts somebody has judged, and real uploads nobody has.

Sources, terms and sizes are in the model cards. Encodings are read defensively: a byte that is no UTF-8 is replaced.
"""

import csv
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from app.events import ContentUploaded

Labels = NDArray[np.int64]

DAVIDSON, OLID, ETHOS = "content/davidson_hate.csv", "content/olid.tsv", "content/Ethos_Dataset_Binary.csv"
YOUTUBE_TOXIC, SURGE = "content/youtube_toxic.csv", "content/surge_toxicity.csv"
HATECHECK, TRENDING = "content/hatecheck.csv", "content/youtube_trending_2017.csv"
SMS = "content/sms_spam.tsv"
PAIRS = tuple(f"content/near_duplicates/pan-train{end}" for end in ("_s1.txt", "_s2.txt", ".labels"))
VIDEOS = tuple(f"content/youtube_spam_{name}.csv" for name in ("02-KatyPerry", "03-LMFAO", "04-Eminem"))


@dataclass(frozen=True)
class Texts:
    """n judged texts.

    Attributes:
        labels: the class of each; what the numbers mean is the loader's to say.
        weights: how far the label is to be trusted, 0 to 1: the share of annotators who agreed, where that is known.
        groups: texts of one group (a channel, a video) must not be parted by a split.
        source: the data file.
    """

    texts: list[str]
    labels: Labels
    weights: NDArray[np.float64]
    groups: list[str]
    source: str

    def __len__(self) -> int:
        return len(self.texts)

    def relabelled(self, *labels: int) -> Self:
        """With `labels[i]` in place of label i."""
        chosen = np.array(labels)[self.labels]
        return type(self)(self.texts, chosen, self.weights, self.groups, self.source)

    def weighing(self, factor: float) -> Self:
        """With every weight multiplied."""
        return type(self)(self.texts, self.labels, self.weights * factor, self.groups, self.source)

    def events(self) -> list[ContentUploaded]:
        """Each text as an upload, the way the agents meet it."""
        return [upload(f"t{row}", title=text) for row, text in enumerate(self.texts)]


def upload(upload_id: str, *, title: str, tags: tuple[str, ...] = ()) -> ContentUploaded:
    """An upload of nobody in particular."""
    at = datetime(2017, 9, 13, tzinfo=UTC)
    return ContentUploaded(event_id=upload_id, user_id="t", upload_id=upload_id, at=at, title=title, tags=tags)


def rows(path: Path, delimiter: str = ",", quoting: Literal[0, 3] = csv.QUOTE_MINIMAL) -> list[dict[str, str]]:
    """The rows of a file with a header."""
    content = path.read_bytes().decode("utf-8-sig", "replace")
    return list(csv.DictReader(io.StringIO(content, newline=""), delimiter=delimiter, quoting=quoting))


def _judged(texts: list[str], labels: list[int], source: str, groups: list[str] | None = None) -> Texts:
    return Texts(texts, np.array(labels), np.ones(len(texts)), groups or texts, source)


def davidson(root: Path) -> Texts:
    """Tweets: 0 hate, 1 offensive, 2 neither (Davidson et al. 2017); weighted by the share of annotators who agreed."""
    found = rows(root / DAVIDSON)
    texts, labels = [row["tweet"] for row in found], np.array([int(row["class"]) for row in found])
    votes = np.array([[int(row[name]) for name in ("hate_speech", "offensive_language", "neither")] for row in found])
    agreed = votes[np.arange(len(labels)), labels] / votes.sum(axis=1)
    return Texts(texts, labels, agreed, texts, DAVIDSON)


def olid(root: Path) -> Texts:
    """Tweets: 0 offensive, 1 not (Zampieri et al. 2019)."""
    found = rows(root / OLID, "\t", csv.QUOTE_NONE)
    return _judged([row["tweet"] for row in found], [int(row["subtask_a"] != "OFF") for row in found], OLID)


def ethos(root: Path) -> Texts:
    """Comments: 0 hate, 1 not (Mollas et al. 2020)."""
    found = rows(root / ETHOS, ";")
    return _judged([row["comment"] for row in found], [int(float(row["isHate"]) < 0.5) for row in found], ETHOS)


def youtube_toxic(root: Path) -> Texts:
    """Comments: 0 toxic, 1 not."""
    found = rows(root / YOUTUBE_TOXIC)
    return _judged([row["Text"] for row in found], [int(row["IsToxic"] != "TRUE") for row in found], YOUTUBE_TOXIC)


def surge(root: Path) -> Texts:
    """Posts: 0 toxic, 1 not."""
    found = rows(root / SURGE)
    return _judged([row["text"] for row in found], [int(row["is_toxic"] != "Toxic") for row in found], SURGE)


def sms(root: Path) -> Texts:
    """Text messages: 0 spam, 1 not (Almeida et al. 2011)."""
    lines = (root / SMS).read_bytes().decode("utf-8", "replace").split("\n")
    parts = [line.split("\t", 1) for line in lines if "\t" in line]
    return _judged([text for _, text in parts], [int(label != "spam") for label, _ in parts], SMS)


def comments(root: Path, video: str) -> Texts:
    """Comments on one video: 0 spam, 1 not (Alberto et al. 2015); one group."""
    found = rows(root / video)
    labels = [int(row["label"] != "1") for row in found]
    return _judged([row["CONTENT"] for row in found], labels, video, [video] * len(found))


def trending(root: Path) -> list[tuple[str, ContentUploaded]]:
    """Real uploads with their channels: each video once, the last of its days."""
    videos = {row["video_id"]: row for row in rows(root / TRENDING)}
    return [
        (row["channel_title"], upload(f"v{number}", title=row["title"], tags=_tags(row["tags"])))
        for number, row in enumerate(videos.values())
    ]


def _tags(joined: str) -> tuple[str, ...]:
    return () if joined == "[none]" else tuple(joined.split("|"))


def hatecheck(root: Path) -> tuple[Texts, list[str]]:
    """Test cases: 0 hateful, 1 not, and the functionality each tests (Röttger et al. 2021). Never to train on."""
    found = rows(root / HATECHECK)
    texts = _judged(
        [row["test_case"] for row in found], [int(row["label_gold"] != "hateful") for row in found], HATECHECK
    )
    return texts, [row["functionality"] for row in found]


def pairs(root: Path) -> tuple[list[str], list[str], NDArray[np.bool_]]:
    """PAN: the first texts, the second texts, and whether the one is a plagiarised copy of the other."""
    first, second, labels = (_lines(root / name) for name in PAIRS)
    return first[: len(labels)], second[: len(labels)], np.array([float(label) > 0.5 for label in labels])


def _lines(path: Path) -> list[str]:
    return path.read_bytes().decode("utf-8", "replace").rstrip("\n").split("\n")
