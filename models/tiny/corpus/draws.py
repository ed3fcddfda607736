"""What a shop fills into its answers: numbers, amounts, names, codes; all drawn from one `random.Random`."""

from random import Random

from corpus.topic import Draw


def words(text: str, separator: str | None = None) -> tuple[str, ...]:
    return tuple(text.split(separator))


def number(low: int, high: int, step: int = 1) -> Draw:
    """Draw a whole number between `low` and `high`, both included."""
    return lambda rng: str(rng.randrange(low, high + 1, step))


def money(low: int, high: int) -> Draw:
    """Draw an amount with or without cents, in euros."""

    def draw(rng: Random) -> str:
        cents = rng.choice(("", "", ".50", f".{rng.randrange(10)}0", f".{rng.randrange(10, 100)}"))
        return f"{rng.randint(low, high)}{cents} euros"

    return draw


def one_of(*options: str) -> Draw:
    """Draw one of the options."""
    return lambda rng: rng.choice(options)


def some_of(how_many: int, *options: str) -> Draw:
    """Draw several options as an English list: `a, b and c`."""

    def draw(rng: Random) -> str:
        chosen = rng.sample(options, rng.randint(2, how_many))
        return ", ".join(chosen[:-1]) + " and " + chosen[-1]

    return draw


_ONSETS = words(
    "b br c cr d dr f fl g gl gr h j k kl l m n p pl qu r s sk sl st t th tr v w wh z bl cl fr pr sp sw str sh ch"
)
_VOWELS = words("a e i o u ai ea ee oa ou y au ie oo")
_CODAS = words("l ll m n nd ng r rk rn rt s sk st t th x ck d ft lm ld mp n r l")
_TOWN_ENDS = words(
    "ton bury field haven ford stead mouth wick sund berg dale bridge minster holm vik by grad hurst ville ness port "
    "lund feld hausen mere combe gate"
)
_LAST_NAME_ENDS = words("er son man well ley ton ski sen berg ova ini ez quist ard ham worth")
FIRST_NAMES = words(
    "Ada Agnes Alba Anselm Anton Astrid Aurel Basil Beatrix Bruno Carmen Cedric Clara Conrad Cosima Dagmar Dario Delia "
    "Edgar Edith Elias Elsa Emil Enid Fabian Felix Fiona Flora Frida Gideon Greta Gustav Hanna Hector Hilda Hugo Ida "
    "Ines Iris Ivan Jasper Jonas Judith Karl Klara Lars Leo Lina Lucia Ludwig Mabel Magnus Marta Max Mila Nadia Nils "
    "Nora Olga Oscar Otto Pablo Paula Petra Piet Quentin Ramon Rosa Rufus Selma Silas Stella Sven Tilda Tobias Ursula "
    "Vera Viktor Wanda Wilma Xenia Yara Yusuf Zelda Amara Kofi Mei Ravi Sana Tariq Noor Kenji Leila Omar Priya Chidi"
)
_CODE_WORDS = words(
    "SPRING WELCOME HELLO SUNNY MAPLE ROBIN CLOVER HARVEST COMET PEPPER BLOSSOM PEBBLE MARBLE VELVET THUNDER RIVER "
    "COCOA MEADOW LANTERN SAFFRON PLUM HAZEL OTTER BADGER FOXGLOVE SNOW AUTUMN ORCHID GINGER TULIP BREEZE CORAL"
)
PET_NAMES = words(
    "Pickle Waffle Juno Pepper Momo Barley Nutmeg Toffee Olive Pixel Rusty Hazel Figaro Mango Sesame Truffle Bramble "
    "Domino Fennel Gizmo Kiwi Noodle Oreo Pudding Quincy Sprout Tango Widget Ziggy Bean"
)
MAILBOXES = words("hello info care help support shop team orders ask hi office mail desk post service contact")
WEEKDAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = words("January February March April May June July August September October November December")
COLOURS = words(
    "black white red green blue grey orange yellow cream navy olive rust sand plum teal copper silver gold mint coral "
    "ivory charcoal lilac amber"
)
MATERIALS = words(
    "oak,walnut,cotton,wool,linen,leather,steel,brass,glass,bamboo,cork,copper,clay,recycled plastic,aluminium,felt,"
    "silk,maple wood,beech,porcelain,titanium,canvas,ash wood,tin,recycled paper,stoneware,hemp,cherry wood",
    ",",
)


def word(rng: Random, syllables: int = 2) -> str:
    """Invent a pronounceable word."""
    parts = (rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(("", rng.choice(_CODAS))) for _ in range(syllables))
    return "".join(parts)


def town(rng: Random) -> str:
    """Invent the name of a town."""
    return (word(rng, 1) + rng.choice(_TOWN_ENDS)).capitalize()


def person(rng: Random) -> str:
    """Invent somebody's first and last name."""
    return rng.choice(FIRST_NAMES) + " " + (word(rng, 1) + rng.choice(_LAST_NAME_ENDS)).capitalize()


def code(rng: Random) -> str:
    """Invent a discount code."""
    return rng.choice((rng.choice(_CODE_WORDS), word(rng).upper())) + str(rng.choice((rng.randint(3, 40), "")))


def part_number(rng: Random) -> str:
    """Invent a part number such as `QT-318`."""
    letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(2))
    return f"{letters}-{rng.randint(10, 999)}"


def phone(rng: Random) -> str:
    """Invent a telephone number."""
    return f"0{rng.randint(100, 999)} {rng.randint(100, 9999)}"


def clock(low: int, high: int) -> Draw:
    """Draw a time of day."""
    return lambda rng: f"{rng.randint(low, high)}:{rng.choice(('00', '00', '30', '15', '45'))}"


def weekdays(rng: Random) -> str:
    """Draw a span of week days."""
    first = rng.randint(0, 2)
    return f"{WEEKDAYS[first]} to {WEEKDAYS[rng.randint(first + 3, 6)]}"


def two_sizes(rng: Random) -> str:
    """Draw a range of millimetres or centimetres."""
    low = rng.randint(8, 60)
    return f"{low} to {low + rng.randint(4, 40)} {rng.choice(('mm', 'cm'))}"


def span(low: int, high: int) -> Draw:
    """Draw a number or a range such as `3 to 5`."""

    def draw(rng: Random) -> str:
        first = rng.randint(low, high)
        return rng.choice((str(first), str(first), f"{first} to {first + rng.randint(1, 4)}"))

    return draw


def street(rng: Random) -> str:
    """Invent the name of a street."""
    return word(rng).capitalize()


def water_rating(rng: Random) -> str:
    """Draw a protection class such as `IPX4`."""
    return f"IP{rng.choice('X3456')}{rng.randint(1, 9)}"
