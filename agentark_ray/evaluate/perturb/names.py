"""People renamed, the same way through a whole question. Only first names that are nothing else."""

import random
import re

from agentark_ray.evaluate.perturb.parts import Parts

# Names that are also words, places, months, brands or famous by themselves are left out.
WOMEN = (
    "Ada", "Alice", "Allison", "Alyssa", "Amanda", "Amelia", "Amy", "Andrea", "Angela", "Anna",
    "Anne", "Annie", "Ashley", "Barbara", "Becky", "Beth", "Bethany", "Betty", "Brenda", "Bridget",
    "Brittany", "Carla", "Carly", "Carolyn", "Carrie", "Cathy", "Cheryl", "Christina", "Cindy",
    "Claire", "Clara", "Danielle", "Deborah", "Diana", "Diane", "Donna", "Dorothy", "Elena",
    "Elizabeth", "Ella", "Ellen", "Emily", "Emma", "Erica", "Eva", "Evelyn", "Fay", "Fiona", "Gina",
    "Greta", "Haley", "Hannah", "Heidi", "Helen", "Ida", "Irene", "Isabella", "Jane", "Janet",
    "Janice", "Jen", "Jenna", "Jennifer", "Jenny", "Jessica", "Jill", "Joanna", "Judy", "Julia",
    "Julie", "Karen", "Kate", "Katherine", "Katie", "Katy", "Kayla", "Kelly", "Kendra", "Kim",
    "Kristen", "Kristin", "Kylie", "Laura", "Lauren", "Layla", "Lea", "Leah", "Leila", "Linda",
    "Lisa", "Liv", "Lola", "Louise", "Lucy", "Lydia", "Mabel", "Maggie", "Mandy", "Marcy",
    "Margaret", "Maria", "Marie", "Marla", "Martha", "Mary", "Megan", "Melanie", "Melissa", "Mia",
    "Michelle", "Mila", "Milly", "Molly", "Monica", "Natalie", "Nia", "Nicole", "Nina", "Nora",
    "Ola", "Olivia", "Pam", "Pamela", "Patricia", "Paula", "Peggy", "Polly", "Rachel", "Rebecca",
    "Rita", "Rosa", "Samantha", "Sandra", "Sara", "Sarah", "Sheila", "Shelly", "Sonia", "Sophia",
    "Sophie", "Stacy", "Stephanie", "Susan", "Susie", "Tanya", "Tara", "Theresa", "Tina", "Vanessa",
    "Veronica", "Wendy", "Yolanda", "Zoe",
)  # fmt: skip
MEN = (
    "Aaron", "Adam", "Ahmed", "Alan", "Albert", "Ali", "Andrew", "Andy", "Anthony", "Arnold",
    "Arthur", "Barry", "Ben", "Benjamin", "Bernard", "Billy", "Bob", "Bobby", "Brandon", "Brian",
    "Bruce", "Bryan", "Caleb", "Carl", "Carlos", "Charles", "Charlie", "Chris", "Christopher",
    "Connor", "Cory", "Dan", "Daniel", "Danny", "Dave", "David", "Dennis", "Derek", "Doug", "Eddie",
    "Edward", "Eli", "Elijah", "Eric", "Ethan", "Felix", "Fred", "Freddy", "Gary", "George",
    "Gerald", "Greg", "Gus", "Hal", "Harold", "Harry", "Howard", "Ian", "Isaac", "Ivan", "Jacob",
    "Jake", "James", "Jared", "Jason", "Jeff", "Jeremy", "Jerome", "Jerry", "Jesse", "Jim", "Jimmy",
    "Joe", "Joel", "John", "Johnny", "Jonah", "Jonathan", "Joseph", "Joshua", "Julian", "Justin",
    "Keith", "Kenneth", "Kenny", "Kevin", "Kyle", "Larry", "Liam", "Louis", "Lucas", "Luis", "Luke",
    "Manuel", "Marcus", "Mario", "Matt", "Matthew", "Maurice", "Michael", "Mike", "Nate", "Nathan",
    "Ned", "Neil", "Nicholas", "Noah", "Oliver", "Pablo", "Patrick", "Paul", "Pedro", "Pete",
    "Peter", "Philip", "Ralph", "Raymond", "Ricardo", "Richard", "Robert", "Roger", "Ron", "Ryan",
    "Sam", "Samuel", "Scott", "Sean", "Shane", "Simon", "Stephen", "Steve", "Steven", "Ted",
    "Thomas", "Tim", "Timothy", "Toby", "Todd", "Tom", "Tommy", "Travis", "Trevor", "Tyler",
    "Vincent", "Walter", "William", "Zach", "Zack",
)  # fmt: skip
EITHER = ("Alex", "Amari", "Casey", "Cho", "Jamie", "Kai", "Riley")
GROUPS = (WOMEN, MEN, EITHER)
_GROUP = {name: group for group in GROUPS for name in group}
_NAMES = "|".join(_GROUP)
_WORD = re.compile(rf"(?<!\w)(?:{_NAMES})(?!\w)")
_TITLES = frozenset(
    [
        *("mr", "mrs", "ms", "dr", "prof", "saint", "st", "king", "queen", "prince", "princess"),
        *("sir", "lord", "lady", "pope", "emperor", "general", "gen", "capt", "sgt", "lt", "col"),
        *("rev", "sen", "gov", "mt", "ft", "lake", "mount", "fort", "port", "san", "santa"),
    ]
)
# Words that may begin a sentence, or are always capitalised, and make no name of what follows.
_OPENERS = frozenset(
    [
        *("After", "Also", "Although", "And", "As", "Assume", "At", "Because", "Before", "But"),
        *("By", "Can", "Did", "Does", "During", "For", "From", "Given", "Has", "How", "However"),
        *("If", "In", "Is", "Later", "Meanwhile", "Next", "Now", "Of", "On", "Once", "Or", "Since"),
        *("So", "Suppose", "That", "The", "Then", "There", "They", "She", "To", "Today"),
        *("Tomorrow", "Unless", "Until", "Was", "What", "When", "Whenever", "Where", "While"),
        *("With", "Yesterday", "Yet", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
        *("Saturday", "Sunday", "January", "February", "March", "April", "May", "June", "July"),
        *("August", "September", "October", "November", "December"),
    ]
)
# Charles' law, Elizabeth I: people that exist, and what is named after them.
_FAMOUS = re.compile(
    rf"(?<!\w)(?:{_NAMES})(?: [IVX]+(?!\w)|(?:['\u2019]s?(?: \w+)?)? (?:law|theorem|lemma|rule"
    r"|series|distribution|polynomial|expansion|formula|inequality|equation|identity|constant"
    r"|principle|paradox|conjecture|hypothesis|algorithm|criterion|effect|syndrome|disease)s?\b)"
)
# Beside a name: a longer name or an initial, letters that do not belong to it, a verse.
_LONGER = re.compile(r"(?:['\u2019]s)? [A-Z]|[-\u2010\u2011]|\.\w|['\u2019](?!s(?!\w))| \d+:\d")
_BEFORE = re.compile(r"([\w.'\u2019-]+)(,?) +\Z")


def renamed(parts: Parts, gold: str, rng: random.Random) -> Parts | None:
    """Every first name that is known as another one of the same gender, in stem and options.

    A name that may be something else (San Diego, Don't, Tom Sawyer) stays. Not applied to questions
    without a number or with somebody famous, which may be about people that exist, with documents,
    or where a name is a part of the answer.
    """
    whole = "\n".join((parts.stem, *parts.options))
    if parts.context or not re.search(r"\d", parts.stem) or _FAMOUS.search(whole):
        return None
    found = dict.fromkeys(_WORD.findall(whole))
    names = [name for name in found if name not in gold and _is_person(whole, name)]
    new: dict[str, str] = {}
    for name in names:
        free = [one for one in _GROUP[name] if one not in whole and one not in new.values()]
        if free:
            new[name] = rng.choice(free)
    if not new:
        return None

    def rename(text: str) -> str:
        return _WORD.sub(lambda word: new.get(word[0], word[0]), text)

    return Parts(context="", stem=rename(parts.stem), options=tuple(map(rename, parts.options)))


def _is_person(text: str, name: str) -> bool:
    """Whether a name is a first name wherever it stands, and has no short or long form beside it.

    The same letters in another case may be a word: a bob, and Bob.
    """
    cases = set(re.findall(rf"(?<!\w){name}(?!\w)", text, re.IGNORECASE))
    others = set(re.findall(rf"(?<!\w){name[:3]}[a-z]*", text)) - {name, f"{name}s"} - _OPENERS
    places = re.finditer(rf"(?<!\w){name}(?!\w)", text)
    return cases == {name} and not others and all(_stands_alone(text, *at.span()) for at in places)


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether a name is no part of a longer one or a word: Tom Sawyer, Mary Ann, King James."""
    if _LONGER.match(text, end) or text[:start].endswith(("\\", "$", "'", "\u2019", "-")):
        return False
    before = _BEFORE.search(text, max(0, start - 30), start)
    if before is None:
        return True
    word = before[1].strip(".'\u2019")
    if word.lower() in _TITLES:
        return False
    if before[2] or before[1].endswith("."):
        return not (len(word) == 1 and word.isupper())  # J. Edward
    return not word[:1].isupper() or word in _OPENERS
