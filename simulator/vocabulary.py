"""The words of made-up uploads: what `uploads` fills its templates with.

The toxic phrases are mild insults on purpose: they exercise the path, they are not a test set of a detector.
"""

from typing import NamedTuple


class Category(NamedTuple):
    """What people upload of one sort: titles and descriptions with places for `{thing}`, `{place}` and `{adjective}`."""

    titles: tuple[str, ...]
    descriptions: tuple[str, ...]
    things: tuple[str, ...]
    tags: tuple[str, ...]


CATEGORIES = {
    "cooking": Category(
        ("How to make {adjective} {thing} at home", "{thing} in 20 minutes", "My grandmother's {thing} from {place}"),
        (
            "Today I show you how I make {thing}. You need an hour, a big pot and patience.",
            "A {adjective} recipe for {thing} that I brought home from {place}. Quantities are in the first comment.",
        ),
        ("sourdough bread", "ramen", "lentil soup", "apple pie", "dumplings", "paella", "pancakes", "kimchi"),
        ("recipe", "cooking", "kitchen", "food", "homemade"),
    ),
    "music": Category(
        ("{thing} cover, live in {place}", "Learn {thing} on guitar", "{adjective} {thing} session"),
        (
            "Recorded in one take in {place}. Thanks to everybody who came and sang along to the {thing}.",
            "A {adjective} lesson for beginners: the chords of a {thing}, slowly and then at full speed.",
        ),
        ("jazz standard", "folk ballad", "piano sonata", "blues riff", "lullaby", "sea shanty", "string quartet"),
        ("music", "live", "acoustic", "cover", "lesson"),
    ),
    "travel": Category(
        ("Three days in {place}", "{place} by {thing}", "The {adjective} side of {place}"),
        (
            "We crossed {place} by {thing} and met wonderful people. Map and costs are below.",
            "What we would do again in {place}, and what we would leave out. It was {adjective}.",
        ),
        ("train", "bicycle", "night bus", "ferry", "camper van", "kayak"),
        ("travel", "vlog", "trip", "backpacking", "city"),
    ),
    "technology": Category(
        ("Building a {thing} from scratch", "{thing} review: is it {adjective}?", "I repaired a {thing}"),
        (
            "In this video we take a {thing} apart, measure what it draws and put it back together.",
            "Source code and drawings of the {thing} are free to use. It took me a {adjective} month.",
        ),
        ("mechanical keyboard", "weather station", "home server", "3D printer", "drone", "radio receiver", "laptop"),
        ("technology", "diy", "electronics", "review", "howto"),
    ),
    "sport": Category(
        ("{adjective} {thing} highlights from {place}", "How I trained for my first {thing}", "{thing}: all goals"),
        (
            "Highlights of Sunday's {thing} in {place}. What a {adjective} finish!",
            "Twelve weeks of training for a {thing}, with the plan and all my mistakes.",
        ),
        ("marathon", "football match", "climbing cup", "triathlon", "chess final", "regatta", "table tennis open"),
        ("sport", "training", "highlights", "match", "fitness"),
    ),
    "science": Category(
        ("Why {thing} matters", "{thing} explained in five minutes", "A {adjective} look at {thing}"),
        (
            "We visit a laboratory in {place} and ask the people who work on {thing} every day.",
            "A {adjective} introduction to {thing}, with sources and further reading at the end.",
        ),
        ("the water cycle", "black holes", "photosynthesis", "plate tectonics", "the immune system", "prime numbers"),
        ("science", "education", "explained", "physics", "biology"),
    ),
}  # fmt: skip

# Most of a description is drawn from these: two uploads on one subject must not look like copies of each other.
ASIDES = (
    "I have wanted to do this since {year}.",
    "My neighbour {name} held the camera and laughed at me the whole time.",
    "It rained for {count} hours, so we started late.",
    "The idea came from a letter that {name} wrote me from {place}.",
    "Chapter marks are in the bar below, the good part begins at minute {count}.",
    "If something is unclear, ask, I read every comment on Sundays.",
    "Next week we go to {place} and try the same with {count} people.",
    "Thanks to {name} for the loan of the microphone.",
    "I was wrong about one thing in the last episode, and I put it right here.",
    "We spent {count} euros in all, most of it on lunch.",
    "The dog in the background is called {name} and is {count} years old.",
    "It is not the fastest way, but it is the one I enjoy.",
    "Nobody paid me for this, I bought everything with my own money in {place}.",
    "The music at the end is by {name}, used with permission.",
    "Half of it did not work at first, you can see that, too.",
    "I learned this in {place} in {year} and have not changed a thing.",
    "Subtitles are in {count} languages, corrections are welcome.",
    "My sister {name} says the colour is off; she is right.",
    "There will be a second part when I am back from {place}.",
    "Bring a friend, it is more fun in twos.",
    "We measured it {count} times and took the mean.",
    "The weather in {place} was kinder than the forecast.",
    "Please be careful when you try it, gloves are a good idea.",
    "A viewer named {name} asked for it, so here it is.",
    "The first take was from {year}, the light was better then.",
    "It looks harder than it is.",
    "You can do the same with less than {count} square metres.",
    "I have kept all the mistakes in.",
    "In {place} they do it quite differently, and I can see why.",
    "Sorry for the wind, the new microphone comes in {count} days.",
    "The book on the table is by {name}, borrowed from the library.",
    "After {count} attempts I would call it a success.",
)
NAMES = (
    "Amara",
    "Bram",
    "Chiyo",
    "Dmitri",
    "Elif",
    "Farah",
    "Goran",
    "Hana",
    "Idris",
    "Jun",
    "Katya",
    "Luca",
    "Mina",
    "Noor",
)

PLACES = (
    "Lisbon",
    "Kyoto",
    "Nairobi",
    "Oslo",
    "Mexico City",
    "Hanoi",
    "Glasgow",
    "Montreal",
    "Palermo",
    "Cusco",
    "Tbilisi",
)
ADJECTIVES = ("simple", "unexpected", "slow", "beautiful", "honest", "quiet", "ridiculous", "perfect", "wild", "tiny")

SPAM_TITLES = (
    "FREE iPhone for the first 100 subscribers!!!",
    "Earn $5,000 a week from home - no work needed",
    "CLICK NOW: free gift cards and {thing}",
    "Check out my channel and WIN a prize",
)
SPAM_TEXTS = (
    "Subscribe to my channel and visit http://free-{tag}-prizes.example/win to claim your cash prize. Text WIN to 80082 now!",
    "I make $300 a day with this one trick, check out my channel!! Limited offer, click http://earn-{tag}.example today!!!",
    "Please check out my new video and subscribe subscribe subscribe. Free followers at http://get-{tag}.example - 100% free!",
)
TOXIC_TITLES = (
    "Why {place} fans are idiots",
    "You are all stupid and here is why",
    "The dumbest {thing} video ever, what a moron",
)
TOXIC_TEXTS = (
    "Shut up, you stupid idiot, nobody wants to hear you talk about {thing}. You are a pathetic loser and a moron.",
    "What a bunch of idiots. Only a complete moron would like this {thing}. You people are disgusting trash.",
    "I hate you all, you dumb losers. Go away and take your stupid {thing} with you, you worthless clown.",
)
