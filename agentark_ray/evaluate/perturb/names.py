"""People renamed, the same way through a whole question. Only first names that are nothing else."""

import random
import re

from agentark_ray.evaluate.perturb.parts import Parts

# Names that are also words, places, months, brands or famous by themselves are left out.
WOMEN = (
    "Ada", "Alice", "Allison", "Alyssa", "Amanda", "Amelia", "Amy", "Andrea", "Angela", "Anna",
    "Anne", "Annie", "Ashley", "Barbara", "Becky", "Beth", "Bethany", "Betty", "Brenda", "Bridget",
    "Brittany", "Carla", "Carly", "Carol", "Carolyn", "Carrie", "Cathy", "Cheryl", "Christina",
    "Cindy", "Claire", "Clara", "Danielle", "Deborah", "Diana", "Diane", "Donna", "Dorothy",
    "Elena", "Elizabeth", "Ella", "Ellen", "Emily", "Emma", "Erica", "Eva", "Evelyn", "Fay",
    "Fiona", "Gina", "Greta", "Haley", "Hannah", "Heather", "Heidi", "Helen", "Ida", "Irene",
    "Isabella", "Jane", "Janet", "Janice", "Jen", "Jenna", "Jennifer", "Jenny", "Jessica", "Jill",
    "Joanna", "Judy", "Julia", "Julie", "Karen", "Kate", "Katherine", "Katie", "Katy", "Kayla",
    "Kelly", "Kendra", "Kim", "Kristen", "Kristin", "Kylie", "Laura", "Lauren", "Layla", "Lea",
    "Leah", "Leila", "Linda", "Lisa", "Liv", "Lola", "Louise", "Lucy", "Lydia", "Mabel", "Maggie",
    "Mandy", "Marcy", "Margaret", "Maria", "Marie", "Marla", "Martha", "Mary", "Megan", "Melanie",
    "Melissa", "Mia", "Michelle", "Mila", "Milly", "Molly", "Monica", "Nancy", "Natalie", "Nia",
    "Nicole", "Nina", "Nora", "Ola", "Olivia", "Pam", "Pamela", "Patricia", "Patty", "Paula",
    "Peggy", "Polly", "Rachel", "Rebecca", "Rita", "Rosa", "Sally", "Samantha", "Sandra", "Sara",
    "Sarah", "Sheila", "Shelly", "Sonia", "Sophia", "Sophie", "Stacy", "Stephanie", "Susan",
    "Susie", "Tanya", "Tara", "Theresa", "Tina", "Vanessa", "Veronica", "Wendy", "Yolanda", "Zoe",
)  # fmt: skip
MEN = (
    "Aaron", "Adam", "Ahmed", "Alan", "Albert", "Ali", "Andrew", "Andy", "Anthony", "Arnold",
    "Arthur", "Barry", "Ben", "Benjamin", "Bernard", "Billy", "Bob", "Bobby", "Brad", "Brandon",
    "Brian", "Bruce", "Bryan", "Caleb", "Carl", "Carlos", "Charles", "Charlie", "Chris",
    "Christopher", "Connor", "Cory", "Dan", "Daniel", "Danny", "Dave", "David", "Dennis", "Derek",
    "Diego", "Don", "Doug", "Eddie", "Edward", "Eli", "Elijah", "Eric", "Ethan", "Felix", "Fred",
    "Freddy", "Gary", "George", "Gerald", "Greg", "Gus", "Hal", "Hank", "Harold", "Harry", "Henry",
    "Howard", "Hugo", "Ian", "Isaac", "Ivan", "Jacob", "Jake", "James", "Jan", "Jared", "Jason",
    "Jeff", "Jeremy", "Jerome", "Jerry", "Jesse", "Jim", "Jimmy", "Joe", "Joel", "Joey", "John",
    "Johnny", "Jonah", "Jonathan", "Jose", "Joseph", "Josh", "Joshua", "Juan", "Julian", "Justin",
    "Keith", "Ken", "Kenneth", "Kenny", "Kevin", "Kyle", "Larry", "Leo", "Liam", "Louis", "Lucas",
    "Luis", "Luke", "Manuel", "Marcus", "Mario", "Martin", "Matt", "Matthew", "Maurice", "Max",
    "Michael", "Mike", "Nate", "Nathan", "Ned", "Neil", "Nicholas", "Nick", "Noah", "Oliver",
    "Oscar", "Pablo", "Patrick", "Paul", "Pedro", "Pete", "Peter", "Philip", "Ralph", "Randy",
    "Raymond", "Rex", "Ricardo", "Richard", "Rick", "Rob", "Robert", "Roger", "Ron", "Ryan", "Sam",
    "Samuel", "Scott", "Sean", "Shane", "Simon", "Stephen", "Steve", "Steven", "Ted", "Terry",
    "Thomas", "Tim", "Timothy", "Toby", "Todd", "Tom", "Tommy", "Tony", "Travis", "Trevor", "Tyler",
    "Victor", "Vincent", "Walter", "William", "Zach", "Zack",
)  # fmt: skip
EITHER = ("Alex", "Amari", "Casey", "Cho", "Jamie", "Kai", "Riley", "Robin", "Taylor")
GROUPS = (WOMEN, MEN, EITHER)
_GROUP = {name: group for group in GROUPS for name in group}
_WORD = re.compile(r"(?<![\w\\$'-])[A-Z][a-z]+(?![\w-])")
_TITLES = frozenset(["mr", "mrs", "ms", "dr", "prof", "saint", "st", "king", "queen", "prince"])


def renamed(parts: Parts, gold: str, rng: random.Random) -> Parts | None:
    """Every first name that is known as another one of the same gender, in stem and options.

    Not applied to questions without a number, which may be about people that exist, with documents,
    or where a name is a part of the answer.
    """
    whole = "\n".join((parts.stem, *parts.options))
    if parts.context or not re.search(r"\d", parts.stem):
        return None
    found = [name for name in dict.fromkeys(_WORD.findall(whole)) if name in _GROUP]
    names = [name for name in found if _stands_alone(whole, name) and name not in gold]
    if not names:
        return None
    new: dict[str, str] = {}
    for name in names:
        free = [one for one in _GROUP[name] if one not in whole and one not in new.values()]
        if free:
            new[name] = rng.choice(free)
    pattern = re.compile(rf"(?<![\w\\$'-])(?:{'|'.join(map(re.escape, new))})(?![\w-])")

    def rename(text: str) -> str:
        return pattern.sub(lambda word: new[word[0]], text)

    return Parts(context="", stem=rename(parts.stem), options=tuple(map(rename, parts.options)))


def _stands_alone(text: str, name: str) -> bool:
    """Whether a name is nowhere a part of a longer one: Tom Sawyer, Mary Ann, King James."""
    for found in re.finditer(rf"(?<!\w){name}(?!\w)", text):
        before = re.findall(r"[\w.]+", text[max(0, found.start() - 20) : found.start()])[-1:]
        last = "".join(before).strip(".")
        if re.match(r"(?:'s)? [A-Z][\w.]|[-.]\w|-", text[found.end() :]):
            return False
        if text[: found.start()].endswith((" ", "-")) and (
            last.lower() in _TITLES or last in _GROUP
        ):
            ended = text[: found.start()].rstrip().endswith((".", "!", "?", ","))
            if not ended or last.lower() in _TITLES:
                return False
    return True
