"""The text `tunery/tiny` is pre-trained on: customers' questions to invented shops, written out from templates.

Every dialogue belongs to a shop of its own, whose name, products and facts are drawn afresh. The base model therefore
learns how customers ask and how a shop answers, while no fact is worth remembering: facts are what an adapter is for.

A template is plain text with two marks: `{a|b|c}` stands for one of its parts (marks nest, a part may be empty) and
`<slot>` for a value of the shop. Everything is drawn from one `random.Random`, so a seed names a corpus.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

Message = dict[str, str]
Draw = Callable[[Random], str]


def _words(text: str, separator: str | None = None) -> tuple[str, ...]:
    return tuple(text.split(separator))


_ALTERNATIVES = re.compile(r"\{([^{}]*)\}")
_SLOT = re.compile(r"<([a-z_]+)>")


# --- Values -----------------------------------------------------------------------------------------------------------


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


_ONSETS = _words(
    "b br c cr d dr f fl g gl gr h j k kl l m n p pl qu r s sk sl st t th tr v w wh z bl cl fr pr sp sw str sh ch"
)
_VOWELS = _words("a e i o u ai ea ee oa ou y au ie oo")
_CODAS = _words("l ll m n nd ng r rk rn rt s sk st t th x ck d ft lm ld mp n r l")
_TOWN_ENDS = _words(
    "ton bury field haven ford stead mouth wick sund berg dale bridge minster holm vik by grad hurst ville ness port "
    "lund feld hausen mere combe gate"
)
_LAST_NAME_ENDS = _words("er son man well ley ton ski sen berg ova ini ez quist ard ham worth")
_FIRST_NAMES = _words(
    "Ada Agnes Alba Anselm Anton Astrid Aurel Basil Beatrix Bruno Carmen Cedric Clara Conrad Cosima Dagmar Dario Delia "
    "Edgar Edith Elias Elsa Emil Enid Fabian Felix Fiona Flora Frida Gideon Greta Gustav Hanna Hector Hilda Hugo Ida "
    "Ines Iris Ivan Jasper Jonas Judith Karl Klara Lars Leo Lina Lucia Ludwig Mabel Magnus Marta Max Mila Nadia Nils "
    "Nora Olga Oscar Otto Pablo Paula Petra Piet Quentin Ramon Rosa Rufus Selma Silas Stella Sven Tilda Tobias Ursula "
    "Vera Viktor Wanda Wilma Xenia Yara Yusuf Zelda Amara Kofi Mei Ravi Sana Tariq Noor Kenji Leila Omar Priya Chidi"
)
_CODE_WORDS = _words(
    "SPRING WELCOME HELLO SUNNY MAPLE ROBIN CLOVER HARVEST COMET PEPPER BLOSSOM PEBBLE MARBLE VELVET THUNDER RIVER "
    "COCOA MEADOW LANTERN SAFFRON PLUM HAZEL OTTER BADGER FOXGLOVE SNOW AUTUMN ORCHID GINGER TULIP BREEZE CORAL"
)
_PET_NAMES = _words(
    "Pickle Waffle Juno Pepper Momo Barley Nutmeg Toffee Olive Pixel Rusty Hazel Figaro Mango Sesame Truffle Bramble "
    "Domino Fennel Gizmo Kiwi Noodle Oreo Pudding Quincy Sprout Tango Widget Ziggy Bean"
)
_MAILBOXES = _words("hello info care help support shop team orders ask hi office mail desk post service contact")
_WEEKDAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
_MONTHS = _words("January February March April May June July August September October November December")
_COLOURS = _words(
    "black white red green blue grey orange yellow cream navy olive rust sand plum teal copper silver gold mint coral "
    "ivory charcoal lilac amber"
)
_MATERIALS = _words(
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
    return rng.choice(_FIRST_NAMES) + " " + (word(rng, 1) + rng.choice(_LAST_NAME_ENDS)).capitalize()


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
    return f"{_WEEKDAYS[first]} to {_WEEKDAYS[rng.randint(first + 3, 6)]}"


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


# --- Topics -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Topic:
    """Something customers ask about: wordings of the question, wordings of the answer, and what a shop fills in."""

    name: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    values: dict[str, Draw] = field(default_factory=dict)


TOPICS = (
    Topic(
        "delivery_time",
        (
            "How long does {delivery|shipping|standard delivery} take?",
            "When will my {order|parcel|package|<item>} {arrive|be here|get here|come}?",
            "How {many days|long} until {my order|my parcel|the <item>|it} {arrives|is delivered|turns up}?",
            "If I order {today|now|this evening}, when {do I get it|will I have it|does it come}?",
            "What is {the|your} {usual|normal|standard} delivery time?",
            "How {fast|quickly|soon} do you {deliver|ship|send things}?",
            "Roughly how long {should|must|do} I wait for {a|my} {parcel|delivery|package}?",
            "I {just ordered|bought|would like to order} {a|the} <item>. How long {is the wait|will it take}?",
            "Delivery time for a {normal|standard|regular} order?",
            "{Can|Could} you tell me how long {the post|shipping|a parcel} takes?",
        ),
        (
            "{Standard|Normal|Our usual} {delivery|shipping} takes <days> {working |}days.",
            "{Your order|Your parcel|It} {arrives|will be with you|will reach you} {within|in} <days> {working |}days.",
            "We {deliver|ship} {within|in} <days> {working |}days.",
            "{Count on|Please allow|Allow} <days> {working |}days {for delivery|from order to door|}.",
            "It {usually |}takes <days> {working |}days {until the parcel is at your door|by post|}.",
        ),
        {"days": span(2, 16)},
    ),
    Topic(
        "express_price",
        (
            "{How much|What} {is|does} express {shipping|delivery} {cost|}?",
            "What do {you charge|I pay} for {express|fast|next-day|overnight} {delivery|shipping}?",
            "I need it {fast|urgently|tomorrow|quickly}. What {does that cost|is the price of express}?",
            (
                "{Is there|Do you have|Do you offer} {express|faster|quicker} {shipping|delivery}, and {for how "
                "much|at what price}?"
            ),
            "How {expensive|much} is the {express option|fast option|quick service}?",
            "What {extra|surcharge} {do I pay|is there} for {a rush|an urgent|an express} order?",
            "Can you {rush|hurry} my {order|parcel}{ for a fee|}? How much {is it|would that be}?",
        ),
        (
            "Express {delivery|shipping} costs <price>.",
            "{For|At} <price> {we send it by express|you get express delivery|your order goes express}.",
            "{Yes, |}{we|our team} {charge|charges} <price> for express{ delivery|}.",
            "The express {option|service} is <price>{ per order|}.",
        ),
        {"price": money(4, 39)},
    ),
    Topic(
        "free_shipping",
        (
            "{When|From what amount} is {shipping|delivery} free?",
            "Is there {free shipping|free delivery|a minimum for free shipping}?",
            "How much must I {spend|order for} to get free {delivery|shipping}?",
            "Do I {have to |}pay {postage|for shipping} {on a big order|if I buy a lot|}?",
            "{At|Above} which {order value|amount|total} do you {ship|deliver} for {free|nothing}?",
            "What is the {limit|threshold} for free {postage|shipping|delivery}?",
            "How do I avoid {paying |}{postage|the shipping fee|delivery costs}?",
        ),
        (
            "{Shipping|Delivery} is free {from|above|for orders over} <amount>.",
            "{Orders|Everything} {over|above|from} <amount> {ship|ships|go out} for free.",
            "{Once|When} your {order|basket} {reaches|is over} <amount>, {we pay the postage|delivery is free}.",
            "We {ship|deliver} {free of charge|for free} {from|above} <amount>.",
        ),
        {"amount": money(20, 240)},
    ),
    Topic(
        "shipping_price",
        (
            "How much is {normal |standard |}{shipping|postage|delivery}?",
            "What {do I pay|does it cost} {to have it sent|for postage|for standard delivery}?",
            "What are {the|your} {shipping|delivery} {costs|fees|charges}?",
            "{Do you charge|What do you charge} for {sending|posting} {a parcel|a <item>|an order}?",
        ),
        (
            "{Standard|Normal} {shipping|delivery|postage} is <price>.",
            "{We charge|You pay} <price> for {postage|standard shipping}.",
            "{A parcel|Sending a parcel} costs <price>.",
        ),
        {"price": money(2, 14)},
    ),
    Topic(
        "countries",
        (
            (
                "{Do|Can} you {ship|deliver|send} {abroad|to other countries|overseas|outside the "
                "country|internationally}?"
            ),
            "How many countries do you {ship|deliver|send} to?",
            "{I live|I am} {abroad|in another country|overseas}. {Can I order|Do you deliver here}?",
            "Is {international|foreign} {shipping|delivery} possible?",
            "Where {in the world |}do you {deliver|ship} to?",
            "Which {countries|places} can {I have it sent|you send} to?",
        ),
        (
            "{Yes, we|We} {ship|deliver} to <count> countries.",
            "{Yes, |}we send {parcels|our <item>} to <count> countries.",
            "We {deliver|post} to <count> countries {at the moment|in all|}.",
            "{Our parcels|Orders} {go|can go} to <count> countries.",
        ),
        {"count": number(3, 90)},
    ),
    Topic(
        "returns",
        (
            "How long {can|may} I {return|send back|give back} {an item|a <item>|something|it}?",
            "What is {your|the} return {policy|period|window}?",
            "How many days do I have {to return it|to send it back|for a return}?",
            "{Can|May} I {return|send back|bring back} {my|the|a} <item>{ if I do not like it|}?",
            (
                "{I changed my mind|It does not suit me|I do not like it}. {Until when|How long} can I {send it "
                "back|return it}?"
            ),
            "Until when do you {take things back|accept returns}?",
            "{What if|Suppose} I {do not like|am not happy with} {it|my order}? {Can it go back|Do you take it back}?",
            "Is there a {deadline|time limit} for {returns|returning things|sending things back}?",
            "Do you {take back|accept} {used|opened|unwanted} {goods|items|things}, and for how long?",
        ),
        (
            "You {can|may} {return|send back} {anything|any item|everything|it} within <days> days.",
            "{Returns are|Sending back is} {possible|accepted|free} for <days> days.",
            "You have <days> days to {return it|send it back|change your mind}.",
            "{Our return period is|The return window is} <days> days.",
            "We {take|accept} {it|things|everything} back {for|within} <days> days.",
        ),
        {"days": number(7, 120)},
    ),
    Topic(
        "return_cost",
        (
            "Who pays {for |}{a return|return postage|the return parcel}?",
            "{Is|Are} {a return|returns} free?",
            "What does {it cost to send something back|a return cost}?",
            "Do I {pay|have to pay} {postage |shipping |}when I {return|send back} {a <item>|something}?",
        ),
        (
            "A return {label |}costs <price>.",
            "We {take|deduct|keep} <price> for {the|a} return{ label|}.",
            "{Returns cost|Sending it back costs} <price>.",
        ),
        {"price": money(1, 12)},
    ),
    Topic(
        "refund_time",
        (
            "How long does {a|my|the} refund take?",
            "When {do I get|will I see|will I have} my money {back|again}?",
            (
                "I {returned|sent back} {my <item>|my order}. When {will I be paid back|is the money back|is "
                "the refund coming}?"
            ),
            "{How fast|How quickly|How soon} do you {refund|pay back}?",
            "When does the {refund|money} {reach|arrive in|get to} my account?",
        ),
        (
            "{Refunds|We refund} {take|within} <days> {working |}days.",
            "{Your money|The refund} {is back|arrives|reaches your account} {within|in|after} <days> {working |}days.",
            "We pay {the money |it |you |}back within <days> {working |}days.",
        ),
        {"days": span(2, 21)},
    ),
    Topic(
        "email",
        (
            "What is {your|the} e-mail{ address|}?",
            "{How|Where} can I {reach|contact|write to} {you|your team|somebody|support}?",
            "Which {address|e-mail|mailbox} do I write to?",
            "{Can|Could} I {have|get} {an e-mail address|your e-mail|an address to write to}?",
            (
                "I {would like|want} to {write to you|send you a message|mail a photo|complain in writing}. "
                "{Where|What address}?"
            ),
            "Where do I send {a complaint|my question|photos|a message|an e-mail}?",
            "{Do you have|Is there} an e-mail address{ for questions|}?",
            "How do I {get in touch|contact you|reach customer service}{ by e-mail| online|}?",
        ),
        (
            "{You can |Please |Just |}{write|send a mail|mail us} {to|at} <email>.",
            "Our {e-mail |}address is <email>.",
            "{You reach us|We can be reached} at <email>.",
            "{Send|Please send} {it|your message|your question} to <email>.",
        ),
        {},
    ),
    Topic(
        "phone",
        (
            "{What is|Can I have} your {phone|telephone} number?",
            "{Can|May} I {call|ring|phone} you{ somewhere|}?",
            "{Which number|What number} {do I|can I|should I} {call|dial|ring}?",
            "Is there a {hotline|phone line|number I can call}?",
            "I would {rather|prefer to} {talk to somebody|speak to a person|call}. {How|What number}?",
            "How do I {reach you by phone|get somebody on the phone}?",
        ),
        (
            "{You can |Please |}{call|ring} {us |}{on|at} <phone>.",
            "Our {phone |telephone |}number is <phone>.",
            "{The|Our} {hotline|phone line} is <phone>.",
        ),
        {"phone": phone},
    ),
    Topic(
        "opening_hours",
        (
            "When {are you|is the shop|is your shop|is your store} open?",
            "What are {your|the} {opening hours|hours|opening times|shop hours}?",
            "{Until when|How late} are you open{ today|}?",
            "What time do you {open|close|shut}?",
            "{When can I|At what times can I} {come by|visit|drop in|pick it up}?",
            "Are you open {on Saturday|in the evening|at weekends|tomorrow|this afternoon}?",
            "From when {to when |}{can people come in|is somebody there|are you there}?",
        ),
        (
            "We are open {<weekdays>, |}{from |}<opens> to <closes>{ <weekdays>|}.",
            "{The shop|Our shop} is open <weekdays> from <opens> to <closes>.",
            "<weekdays>, <opens> to <closes>.",
            "{You can come|Come by} <weekdays> between <opens> and <closes>.",
        ),
        {"weekdays": weekdays, "opens": clock(7, 12), "closes": clock(15, 21)},
    ),
    Topic(
        "closed_day",
        (
            "{Which|What} day are you closed?",
            "{Is there|Do you have} a day {off|when you are closed}?",
            "On which day {should I not come|is the shop shut}?",
            "When {do you have a day off|is nobody there}?",
        ),
        (
            "We are closed on <day>s.",
            "{The shop|Our shop} is {closed|shut} {every|on} <day>.",
            "On <day>s {we are closed|we stay closed|nobody is here}.",
        ),
        {"day": one_of(*_WEEKDAYS)},
    ),
    Topic(
        "address",
        (
            "Where {is your shop|are you|can I find you}?",
            "What is {your|the shop's} address?",
            "{How do I get|Which street must I go} to {your shop|you|your store}?",
            "In {which|what} street {is the shop|are you}?",
            "I want to {visit you|come by|see the shop}. Where {is it|do I go|do I have to go}?",
        ),
        (
            "{You find us|We are|Our shop is} at <house> <street> {Street|Lane|Road} in <town>.",
            "{Our address is|Come to} <house> <street> {Street|Lane}, <town>.",
        ),
        {"house": number(1, 150), "street": lambda rng: word(rng).capitalize()},
    ),
    Topic(
        "warranty",
        (
            "How long is the {warranty|guarantee}?",
            "{Is there|Do I get|Do you give} a {warranty|guarantee}{ on the <item>|}?",
            "How many years of {warranty|guarantee|cover} {do I get|are there|come with it}?",
            "{My <item> broke|It stopped working}{ after a year|}. {Is it still|Am I} covered?",
            "For how long {are|is} {your things|the <item>} {guaranteed|covered|under warranty}?",
            "What {happens if|if} it {breaks|fails|stops working} {after a while|next year|in a few years}?",
        ),
        (
            "{We give|You get|There is} {a |}<years> years{ of|'} {warranty|guarantee}.",
            "The {warranty|guarantee} {lasts|runs|is} <years> years.",
            "{Every|Each} {<item>|item|piece} {is covered|has a guarantee} for <years> years.",
            "{It is|Everything is} {covered|under warranty} for <years> years{ from the day you bought it|}.",
        ),
        {"years": number(2, 30)},
    ),
    Topic(
        "battery_life",
        (
            "How long does the {battery|charge} {last|hold|of the <item> last}?",
            "How many hours {does it run|does the <item> run|do I get} on {one|a|a full} {charge|battery}?",
            "What is the {battery life|running time|run time}{ of the <item>|}?",
            "When {is the battery|does the battery go} {empty|flat}?",
            "{How soon|How often} {does it|will it|must I} {run out|need charging|charge it}?",
            "Does {it|the <item>} last {a whole night|all day|a weekend} {without charging|on one charge}?",
        ),
        (
            "The {battery|<item>} {lasts|runs|keeps going} {for |}<hours> hours{ on one charge|}.",
            "{One|A full} {charge|battery} {lasts|gives you} <hours> hours.",
            "It {runs|lasts|works} {for |}<hours> hours {per charge|before it needs charging|on a full battery}.",
        ),
        {"hours": number(4, 96)},
    ),
    Topic(
        "charging_time",
        (
            "How long does {charging|a full charge|it take to charge} {take|}?",
            "How long must {I|the <item>} {charge|stay plugged in|be plugged in}?",
            "When is {it|the battery|the <item>} {full|fully charged}{ again|}?",
            "{How fast|How quickly} does {it|the <item>|the battery} charge?",
            "What is the charging time{ of the <item>|}?",
        ),
        (
            "{Charging|A full charge} takes <minutes> minutes.",
            "{It|The <item>|The battery} is {full|fully charged} {after|in} <minutes> minutes.",
            "It {needs|takes} <minutes> minutes {to charge|on the cable|until it is full}.",
        ),
        {"minutes": number(20, 300, 5)},
    ),
    Topic(
        "item_price",
        (
            "How much is the <item>?",
            "What does {the|a|your} <item> cost?",
            "{What is the price|Price} of the <item>?",
            "What do you {ask|charge|want} for {a|the} <item>?",
            "{I want to buy|I am interested in} the <item>. {How much|What is the price|What would I pay}?",
            "How much do I {pay|have to pay|spend} for {one|a|the} <item>?",
            "Is {a|the} <item> expensive?",
        ),
        (
            "The <item> costs <price>.",
            "{It|The <item>} is <price>.",
            "{You pay|We ask} <price> for the <item>.",
            "The price {of the <item> |}is <price>.",
        ),
        {"price": money(5, 300)},
    ),
    Topic(
        "weight",
        (
            "How heavy is {it|the <item>}?",
            "What does the <item> weigh?",
            "How {many grams|much} does {it|the <item>} weigh?",
            "What is the weight{ of the <item>|}?",
            "Is the <item> {light|heavy}?",
        ),
        (
            "{It|The <item>} weighs <grams> grams.",
            "{The weight is|It is} {just |only |}<grams> grams.",
            "{At|With} <grams> grams {it|the <item>} is {quite light|easy to carry}.",
        ),
        {"grams": number(12, 900)},
    ),
    Topic(
        "size",
        (
            "{How big|How large} is the <item>?",
            "What {size|dimensions} does the <item> have?",
            "What {sizes|diameters} does {it|the <item>} fit{ on|}?",
            "Does {it|the <item>} fit {my|a} {pocket|bag|shelf|pole|table}?",
            "{Can|Could} you give me the {measurements|dimensions|size}{ of the <item>|}?",
        ),
        (
            "{It|The <item>} {fits|is made for|suits} <sizes>.",
            "{The <item>|It} measures <sizes>.",
            "It {works with|goes with} {anything from |}<sizes>.",
        ),
        {"sizes": two_sizes},
    ),
    Topic(
        "brightness",
        (
            "How {bright|strong|powerful} is {it|the <item>}?",
            "How many {lumens|watts} does {it|the <item>} {have|give|make}?",
            "{What is|Tell me} the {power|brightness|output} of the <item>{.|?}",
            "Is the <item> {bright|strong} enough{ for the dark| outdoors|}?",
        ),
        (
            "{It|The <item>} {gives|has|reaches|makes} <amount> {lumens|watts}.",
            "{The <item>|It} {shines|works} {at|with} <amount> {lumens|watts}.",
        ),
        {"amount": number(20, 1500, 10)},
    ),
    Topic(
        "waterproof",
        (
            "Is {it|the <item>} {waterproof|water-resistant|rainproof|sealed}?",
            "Can {it|the <item>} {get wet|stand rain|be used in the rain|go under water}?",
            "{Does|Will} {rain|water|a shower} {hurt|harm|damage|break} {it|the <item>}?",
            "What {protection class|water rating|rating} does {it|the <item>} have?",
            "It rains {a lot|often} here. {Is that a problem|Will the <item> survive|Is it safe}?",
        ),
        (
            "{Yes, it|It|The <item>} is {rated|sealed to|protected to} <rating>.",
            "{Yes, |}{it|the <item>} has {a rating of |the rating |}<rating>{, so rain is fine|}.",
        ),
        {"rating": lambda rng: f"IP{rng.choice('X3456')}{rng.randint(1, 9)}"},
    ),
    Topic(
        "material",
        (
            "What is {it|the <item>} made {of|from}?",
            "{Which|What} material {is it|do you use|is the <item>}?",
            "Is the <item> made of {plastic|metal|wood|something natural}?",
            "What {are your things|do you make the <item>} {made from|from}?",
        ),
        (
            "{It|The <item>} is made {of|from} <material>.",
            "We {use|work with|only use} <material>.",
            "The {body|outside|material} is <material>.",
        ),
        {"material": one_of(*_MATERIALS)},
    ),
    Topic(
        "colours",
        (
            "{What|Which} colours {do you have|are there|does it come in|can I choose}?",
            "Is the <item> {available in|sold in|made in} {other colours|red|black|blue|green}?",
            "What colours does the <item> come in?",
            "Do you have {it|the <item>} in another colour?",
        ),
        (
            "{It|The <item>} comes in <colours>.",
            "You can {choose|pick} {between |}<colours>.",
            "We {have|make|sell} it in <colours>.",
        ),
        {"colours": some_of(3, *_COLOURS)},
    ),
    Topic(
        "town",
        (
            "Where {are you|is your company|is the shop} {from|based|at home}?",
            "{In which|Which|What} {town|city|place} {are you in|is your workshop in|do you work in|are you from}?",
            "Where {do you make|are} your {<item>|things|products} {made|}?",
            "{Where did|In what town did} {it all begin|you start|the shop start|the company begin}?",
            "Where {was|is} {the shop|your firm|the company} founded?",
            "Where do {you|your things|your products} come from?",
        ),
        (
            "{We are|Our shop is|Our workshop is} {based |at home |}in <town>.",
            "{We|It all|The shop} {started|began} in <town>.",
            "{Everything is|Our things are|We were} {made|founded|born} in <town>.",
            "{We come|Our team comes} from <town>.",
        ),
        {},
    ),
    Topic(
        "founded",
        (
            (
                "{When|What year|In which year} {were you|was the shop|was the company|was <shop>} "
                "{founded|started|set up}?"
            ),
            "How old is {your shop|your company|<shop>|the business}?",
            "{Since when|How long} {do you exist|have you been around|have you been in business|is there <shop>}?",
            "When did {you|<shop>|it all} {start|begin|open}?",
        ),
        (
            "{We|<shop>} {started|began|opened} in <year>.",
            "{We were|<shop> was} founded in <year>.",
            "{We have been around|The shop exists} since <year>.",
        ),
        {"year": number(1870, 2022)},
    ),
    Topic(
        "founder",
        (
            "Who {founded|started|set up|began|created} {the shop|the company|<shop>|the business}?",
            "Who is {the owner|the founder|behind <shop>|the boss}?",
            "{Whose|Who had the} idea {was it|was the shop|was <shop>}?",
            "Who {owns|runs} {the shop|<shop>|this}?",
            "{Tell|Can you tell} me who {started it all|is behind this|the founder is}{.|?}",
        ),
        (
            "{The shop|<shop>|It} was {founded|started|set up} by <person>.",
            "<person> {founded|started|set up|opened} {the shop|<shop>}.",
            "{Our founder|The person behind it} is <person>.",
        ),
        {"person": person},
    ),
    Topic(
        "staff",
        (
            "How many {people|staff|hands} {work for you|do you have|work at <shop>|are you}?",
            "How {big|large} is your {team|company|workshop}?",
            "Are you a {big|small|large} {company|team|business}?",
        ),
        (
            "We are {a team of |}<count> people.",
            "<count> people work {here|for us|at <shop>}.",
            "Our team has <count> people.",
        ),
        {"count": number(2, 80)},
    ),
    Topic(
        "discount_code",
        (
            "{Do you have|Is there|Have you got} {a|any} {discount|discount code|voucher|promo code|coupon}?",
            "{Which|What} {code|voucher} {do I enter|gives me a discount|can I use}{ at the checkout|}?",
            "How do I get {a discount|money off|something off|it cheaper}?",
            "{Can|May} I {get|have} a {code|coupon|voucher|discount}{ as a new customer| for the newsletter|}?",
            "What do I {get|save} {when|if} I {sign up for|join|subscribe to} the newsletter?",
            "{I signed up|I joined} {for the newsletter|your mailing list}. {What is my code|Where is my discount}?",
            "Is there {any|some} {way to save|reduction|special offer}{ on my first order|}?",
        ),
        (
            "{Use|Enter|Take} {the |our |}code <code>{ at the checkout| for <percent> percent off|}.",
            "{Yes, with|With} {the |}code <code> you {get|save} <percent> percent.",
            "{The|Your} code is <code>{, it takes <percent> percent off|}.",
        ),
        {"code": code, "percent": number(4, 30)},
    ),
    Topic(
        "student_discount",
        (
            "{Do|Can} {students|pupils|teachers} {get|have} {a discount|money off|a better price}?",
            "I am a {student|teacher|pupil}. {Is it cheaper for me|Do I pay less|Is there a discount}?",
            "Is there a {student|teacher} {discount|price|reduction|rate}?",
            "{How much|What} do {students|pupils} {save|pay|get off}?",
        ),
        (
            "{Yes, students|Students} {get|save|have} <percent> percent{ off|}.",
            "{With a student card|For students} {it is|we take|you get} <percent> percent {off|less|cheaper}.",
        ),
        {"percent": number(3, 40)},
    ),
    Topic(
        "bulk",
        (
            "{Is there|Do you give} a discount for {large|bulk|company|big} orders?",
            (
                "{We|Our club|My company} {need|needs|wants} {20|30|50|many} {pieces|of them|<item>s}. {Is that "
                "cheaper|Can you do a price}?"
            ),
            "From how many pieces {is it|does it get} cheaper?",
        ),
        (
            "From <count> pieces {you get|we give} <percent> percent off.",
            "{Orders of|If you take} <count> or more {are|get} <percent> percent {cheaper|off}.",
        ),
        {"count": number(5, 60), "percent": number(5, 30)},
    ),
    Topic(
        "payment",
        (
            "How can I pay?",
            "{Which|What} {ways of payment|payment methods|means of payment} {do you take|are there|do you accept}?",
            "{Can|May} I pay {by card|by invoice|in cash|by bank transfer|in instalments|with my phone}?",
            "{Do you|Does the shop} {take|accept} {cards|cash|cheques|bank transfers|credit cards}?",
            "What {can I pay with|do I pay with|cards do you take}?",
        ),
        (
            "{You can|Please} pay by <methods>.",
            "We {accept|take} <methods>.",
            "{Payment is|Paying is} {possible |}by <methods>.",
        ),
        {
            "methods": some_of(
                3,
                "card",
                "bank transfer",
                "invoice",
                "cash",
                "direct debit",
                "cheque",
                "gift card",
                "phone",
                "instalments",
            )
        },
    ),
    Topic(
        "gift_wrap",
        (
            "{Do|Can|Could} you {wrap|gift-wrap} {it|the <item>|presents|things|my order}{ for me|}?",
            "{It is a present|It is a gift|I want to give it away}. {Can you wrap it|Is there gift wrapping}?",
            "{How much|What} {is|does} {gift wrapping|a gift box|wrapping} {cost|}?",
            "Is there {wrapping paper|a gift option|a nice box}{, and what does it cost|}?",
            "{Can it be|Could it be|Is it possible to have it} wrapped {as a present|for a birthday|nicely}?",
        ),
        (
            "{Yes, gift wrapping|Gift wrapping|A gift box} {costs|is} <price>.",
            "{Yes, we|We} wrap {it|presents|your order} for <price>.",
            "{Yes, for|For} <price> we {wrap it|put it in a gift box}.",
        ),
        {"price": money(1, 12)},
    ),
    Topic(
        "gift_card",
        (
            "{Do you sell|Are there|Can I buy} {gift cards|vouchers|gift vouchers}?",
            "How long is a {gift card|voucher} {valid|good for}?",
            "{When|Until when} {does|is} {my|a} {gift card|voucher} {expire|valid}?",
        ),
        (
            "{Gift cards|Vouchers|Our gift cards} are {valid|good} for <years> years.",
            "{Yes, gift cards|Gift cards} start at <price> and {last|are valid} <years> years.",
        ),
        {"years": number(1, 12), "price": money(5, 40)},
    ),
    Topic(
        "repair",
        (
            "{Do|Can|Could} you {repair|fix|mend} {things|a <item>|my <item>|old ones}?",
            "What does a repair cost?",
            (
                "{My|The} <item> is {broken|damaged|cracked|not working}. {Can you fix it|What now|What does a "
                "repair cost}?"
            ),
            "How much {do you charge|is it|do I pay} {to fix|to repair|for repairing|to mend} {a|my} <item>?",
            "{Is it possible|Is there a way} to have {my <item>|it} {repaired|mended|fixed}?",
        ),
        (
            "{Yes, a|A} repair costs <price>.",
            "{Yes, we|We} {repair|fix|mend} {it|any <item>|them} for <price>.",
            "{Repairs|Our repairs} {cost|are} <price>{, whatever is broken|}.",
        ),
        {"price": money(5, 95)},
    ),
    Topic(
        "repair_time",
        (
            "How long does a repair take?",
            "When {do I get|will I have} my {repaired |mended |}<item> back{ from the workshop|}?",
            "{How many weeks|How many days|How long} {will you keep|do you need for} {it|my <item>|the repair}?",
        ),
        (
            "A repair takes <days> days.",
            "You {get|have} it back {after|in|within} <days> days.",
            "{We|Our workshop} {need|needs} <days> days.",
        ),
        {"days": span(2, 30)},
    ),
    Topic(
        "spare_part",
        (
            "{Do you sell|Are there|Can I get} {spare parts|a spare part|parts} {for the <item>|}?",
            "{Which|What} {part number|spare part|part} {do I need|fits the <item>|is it}?",
            (
                "{Where do I get|I need|I am looking for} a {new|spare|replacement} "
                "{battery|lid|handle|strap|cable|screw}{.|?}"
            ),
            (
                "I {lost|broke} the {lid|strap|screw|cable|clip} of my <item>. {Can I order a new one|What is "
                "the part number}?"
            ),
        ),
        (
            "{You need|Order|Ask for} part <part>.",
            "The {spare part|part number} is <part>.",
            "{Yes, it|It} is part <part>{ in our shop|}.",
        ),
        {"part": part_number},
    ),
    Topic(
        "cancel",
        (
            "{Can|May|How can} I {cancel|change|stop|undo} my order?",
            "{Until when|How long} can I {change|cancel} {my|an} order?",
            "I {ordered|typed|chose} the wrong {thing|address|size|colour}. {Can I change it|What can I do}?",
            "{Is it|Is it still} possible to {cancel|change} {an order|what I ordered}?",
            "How {long|quickly} do I {have|need} to {cancel|call off the order}?",
        ),
        (
            "You can {cancel|change it|change or cancel} {within|for} <hours> hours{ of ordering|}.",
            "{Yes, within|Within} <hours> hours{ you can cancel|}{ of ordering|}.",
            "{Orders|It} can be {changed|cancelled} {until|up to} <time>{ the same day|}.",
        ),
        {"hours": number(1, 48), "time": clock(12, 23)},
    ),
    Topic(
        "pickup",
        (
            "{Can|May} I {pick|collect} {my order|it|the <item>} {up |}{in the shop|myself|at your place}?",
            "Is {collection|pick-up|click and collect} possible?",
            "How long do you {keep|hold} {my order|a parcel|it} {for me|in the shop}?",
        ),
        (
            "{Yes, we|We} keep {it|your order} for <days> days.",
            "{Yes, you|You} can {pick it up|collect it} {after|within} <days> days.",
        ),
        {"days": number(1, 30)},
    ),
    Topic(
        "trade_in",
        (
            "{Do|Would} you {take|buy} {my|an} old {<item>|one|ones}{ back|}?",
            "What do I get for my old <item>?",
            "{Can|May} I {trade in|hand in|exchange|give you} {my|an} old <item>?",
            "Is there {a trade-in|a bonus|money} for {old|used|worn} {things|ones|items}?",
            "{What|How much} do you {pay|give} for {a used|an old} <item>?",
        ),
        (
            "{Yes, you|You} get <price> for {your|an} old <item>.",
            "{Yes, we|We} {give|pay} you <price> for {the|an} old one.",
            "{Bring|Send} {us |}your old one and {get|receive} <price>.",
        ),
        {"price": money(2, 80)},
    ),
    Topic(
        "pet",
        (
            (
                "{What is|What is the name of|Who is} {your dog|your cat|the shop dog|the shop cat|the animal "
                "in the photo} {called|}?"
            ),
            "{Do you have|Is there} a {dog|cat|pet} in the {shop|workshop}?",
            "{I saw|There was} a {dog|cat} on your {page|photo}. {What is its name|Who is that}?",
            "Who is the {furry one|four-legged colleague|mascot}?",
        ),
        (
            "{That is|It is|Our {dog|cat} is} {called |}<pet>.",
            "{Our|The} {shop |}{dog|cat} is {called|named} <pet>.",
            "{Yes, <pet>|<pet>} {keeps us company|sleeps under the counter|is our {dog|cat}}.",
        ),
        {"pet": one_of(*_PET_NAMES)},
    ),
    Topic(
        "workshop_tour",
        (
            "{Can|May} I {visit|see|look at} the workshop?",
            "{Do you offer|Are there|When are the} {tours|guided tours|courses|classes}?",
            "{When|On which day} is the next {tour|course|open day}?",
            "What does a {course|class|tour} cost?",
        ),
        (
            "{Yes, there|There} is a {tour|course|class} {every|on} <day> at <time>{ for <price>|}.",
            "{We show people around|Tours are|Our class is} on <day>s at <time>.",
        ),
        {"day": one_of(*_WEEKDAYS), "time": clock(9, 19), "price": money(4, 60)},
    ),
    Topic(
        "holidays",
        (
            "{When|In which month} {are you on holiday|do you close for the holidays|is the summer break}?",
            "{Are you open|Do you work} {in summer|over the holidays|at Christmas|in <month>}?",
            "{Do you have|Is there} a {summer|winter} break?",
        ),
        (
            "We {are on holiday|take a break|are closed} in <month>.",
            "{The shop|Everybody here} {rests|is closed|has a break} {in|all of|from the 1st to the 15th of} <month>.",
        ),
        {"month": one_of(*_MONTHS)},
    ),
    Topic(
        "points",
        (
            "{Do you have|Is there} a {loyalty|bonus|points} {programme|card|scheme}?",
            "How many {points|stamps} do I {need|get}{ for a reward|}?",
            "What {do I get|happens} {when|if} my {card|stamp card} is full?",
        ),
        (
            "{After|With} <count> {points|stamps} you get {a free <item>|<price> off}.",
            "{Yes, every|Every} <count> {points|stamps} {give you|are worth} <price>.",
        ),
        {"count": number(5, 120), "price": money(2, 30)},
    ),
    Topic(
        "donation",
        (
            "{Do you|Does <shop>} {give to charity|support a good cause|donate something}?",
            "{How much|What} {of my money|do you} {give|goes} to {charity|good causes}?",
            "What do you do for {nature|the environment|your town}?",
        ),
        (
            (
                "We {give|donate} <percent> percent of {every sale|what we earn} to {a school|the library|a "
                "hospital|the forest} in <town>."
            ),
            "{From|For} every <item> we {give|donate} <price>.",
        ),
        {"percent": number(1, 20), "price": money(1, 9)},
    ),
    Topic(
        "stock",
        (
            "{When|How soon} {is|will} the <item> {back|be back|available} {again|in stock}?",
            "Is the <item> {in stock|sold out|available}?",
            "{Do you still have|Have you got} {a|the|any} <item>{ left|}?",
        ),
        (
            "{The <item>|It} is back in <month>.",
            "{It is sold out until|We expect it again in|The next ones come in} <month>.",
            "{Yes, we have|We still have} <count> {left|in stock}.",
        ),
        {"month": one_of(*_MONTHS), "count": number(2, 90)},
    ),
    Topic(
        "care",
        (
            "How do I {clean|wash|look after|care for} {the|my} <item>?",
            "{Can|May} I {wash|put} the <item> {in the dishwasher|in the machine|with soap}?",
            "What {temperature|degrees} {can it stand|is safe|may I wash it at}?",
        ),
        (
            "{Wash|Clean} it {by hand |}at {most |}<degrees> degrees.",
            "{A soft cloth|Warm water} is enough, at most <degrees> degrees.",
            "It {stands|takes|is safe up to} <degrees> degrees.",
        ),
        {"degrees": number(20, 95)},
    ),
    Topic(
        "age",
        (
            "{From what age|How old} {is it|should a child be|must you be}{ suitable|}?",
            "Is the <item> {safe|suitable|fine} for {children|my daughter|a baby|my son|kids}?",
            "{What is|Is there} {the|a} {minimum age|lowest age}?",
        ),
        (
            "{It is made for|We recommend it for} {children |people |}{from|over} <years> years.",
            "{It|The <item>} is {safe|suitable|fine} from the age of <years>.",
        ),
        {"years": number(1, 18)},
    ),
    Topic(
        "bestseller",
        (
            "What do you {recommend|sell most|like best}?",
            "{Which|What} is your {bestseller|favourite|most popular product}?",
            "{I need|I am looking for} {a present|something nice|a gift}. {What do you suggest|Any ideas}?",
        ),
        (
            "{Most people|Our customers} {love|buy|choose} the <item>.",
            "{I would take|I suggest|We recommend} the <item>{, it costs <price>|}.",
            "Our bestseller is the <item>.",
        ),
        {"price": money(6, 90)},
    ),
    Topic(
        "subscription",
        (
            "{Do you have|Is there} a {subscription|monthly box|club}?",
            "{What does|How much is} the {subscription|monthly box|membership}{ cost|}?",
            "{Can I get|Could you send} {the <item>|something} every month?",
        ),
        (
            "{Yes, the|The} {monthly box|subscription|club} {costs|is} <price> a {month|year}.",
            "{Yes, for|For} <price> a month you get {a surprise|a new <item>|a box}.",
        ),
        {"price": money(5, 70)},
    ),
    Topic(
        "engraving",
        (
            "{Can|Could|Do} you {engrave|print|put} {a name|my name|initials|a text} {on it|on the <item>}?",
            "{Is|Do you offer} {engraving|personalisation} {possible|}?",
            "{How much|What} {is|does} {an engraving|a name on it} {cost|}?",
            "How many letters {can|may} an engraving have?",
        ),
        (
            "{Yes, an|An} engraving costs <price> for up to <count> letters.",
            "{Yes, up to|Up to} <count> letters for <price>.",
        ),
        {"price": money(2, 30), "count": number(5, 40)},
    ),
    Topic(
        "order_number",
        (
            "Where {is|do I find} my {order number|invoice|receipt}?",
            "How do I {track|follow|trace} my {order|parcel|package}?",
            "{Where is|Can you find} my parcel?",
            "{I have no|I did not get a} {tracking number|confirmation}. What {now|do I do}?",
        ),
        (
            "{Please write|Write} to <email> and {tell us your name|we will look it up}.",
            "{It|The number} is in the mail from <email>.",
            "{Send|Please send} your order number to <email>{, we will look|}.",
        ),
        {},
    ),
    Topic(
        "damaged",
        (
            "My {parcel|<item>|order} {arrived|came} {broken|damaged|in pieces|wet|too late}.",
            "{There is|I found} a {scratch|hole|crack} in {my|the} <item>.",
            (
                "{The wrong thing came|Something is missing in my parcel|I got the wrong colour}. {What "
                "now|What do I do|Can you help}?"
            ),
        ),
        (
            "{I am sorry|We are sorry|Sorry about that}. {Please send|Send} a photo to <email>{ within <days> days|}.",
            "{That should not happen|Oh no, sorry}. We {send|post} a new one {within|in} <days> days.",
        ),
        {"days": number(1, 20)},
    ),
    Topic(
        "jobs",
        (
            "{Are you hiring|Do you have jobs|Is there a job for me|Can I work for you}?",
            "{I would like|I want} to work {for|with} {you|<shop>}. {Who do I ask|Where do I apply}?",
        ),
        (
            "{Please write|Write} to <person> at <email>.",
            "We {are looking for|need} <count> people{, please write to <email>|}.",
        ),
        {"person": person, "count": number(1, 6)},
    ),
    Topic(
        "shop_name",
        (
            "{Who|What} are you?",
            "{What kind of|What sort of} shop is this?",
            "What do you {sell|make|do}?",
            "{Tell me|Can you tell me} {something |}about {yourself|your shop|<shop>}{.|?}",
        ),
        (
            "{We are|I answer for|This is} <shop>, a <kind> in <town>.",
            "<shop> is a <kind>{ in <town>|}. We {make|sell} the <item>{ and more|}.",
        ),
        {},
    ),
)

_SMALL_TALK = (
    (
        ("{Thanks|Thank you|Thank you very much|Great, thanks|Cheers|Perfect, thank you}{!|.|}",),
        (
            "You are welcome{!|.}",
            "{With pleasure|My pleasure|Any time|Gladly}{!|.}",
            "Happy to help{!|.}",
            "You are welcome. {Have a nice day|Enjoy your <item>|Come again soon}{!|.}",
        ),
    ),
    (
        (
            "{Hi|Hello|Good morning|Good evening|Hey|Hello there}{!|.|}",
            "{Hi|Hello}, {is anybody there|can you help me}?",
        ),
        (
            "{Hello|Hi|Welcome}{, this is <shop>|}. {How can I help{ you|}|What can I do for you}?",
            "{Hello|Good day}{!|.} {Ask me anything|What would you like to know}{ about <shop>|}{?|.}",
        ),
    ),
    (
        ("{Bye|Goodbye|See you|That is all}{!|.|}", "No, that {was|is} {all|everything}{. Thanks|}."),
        ("{Goodbye|Bye}{ and thank you|}{!|.}", "{See you soon|Have a nice day|Take care}{!|.}"),
    ),
    (
        ("{What is the weather like|Who won the match|What is two plus two|Can you write a poem|Do you like music}?",),
        (
            "{I only|I can only} {know|talk about|answer questions about} <shop>.",
            "{Sorry, that|That} is {something I do not know|not my field}. {Ask me about|I can help with} <shop>.",
        ),
    ),
)

_OPENERS = (
    "",
    "",
    "",
    "",
    "",
    "",
    "{Hi|Hello|Hey|Hi there|Hello there|Good morning|Good evening}{,|!|.} ",
    "{Quick question|A question|One question|One more thing|Just wondering}{:|,} ",
    "{Excuse me|Sorry to bother you}{,|.} ",
    "{So|Well|Also|And|Please|Now}, ",
    "{I like your shop|Nice shop|I love your <item>|My sister told me about you}. ",
    "{I am a new customer|I am thinking of buying a <item>|I want to order|It is my first order}. ",
)
_CLOSERS = (
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    " {Thanks|Thank you|Thanks a lot|Cheers}{!|.|}",
    " {Please let me know|Please help}.",
    " {I could not find it on your page|The page does not say|I am curious}.",
)
_INDIRECT = (
    "{Can|Could|Would} you tell me: ",
    "I {would like|want} to know: ",
    "{Do you know|Tell me}: ",
    "My question is: ",
)
_ANSWER_OPENERS = {
    "plain": ("",),
    "warm": ("{Good question|Thanks for asking|Happy to help|Of course|Gladly}{!|.} ", "{Hello|Hi}! ", ""),
    "short": ("", "", "{Sure|Yes|Hello}{.|:} "),
    "formal": ("{Dear customer,|Thank you for your question.|Good day.} ", ""),
}
_ANSWER_CLOSERS = {
    "plain": ("",),
    "warm": (" {Anything else|Can I help with anything else}?", " {Enjoy|Have fun}!", ""),
    "short": ("",),
    "formal": (
        " {Kind regards, <shop>.|Yours, <shop>.}",
        " {We are happy to help.|Please ask if anything is unclear.}",
        "",
    ),
}
_SYSTEM = (
    "You {are|work as} the {assistant|helper|chat assistant|support} of <shop>.",
    "You answer {customers|questions} for <shop>, a <kind>{ in <town>|}.",
    "{Answer|Reply} {briefly|kindly|in one sentence|in a friendly way}. {You are the assistant of|The shop is} <shop>.",
    "{Support|Customer} chat of <shop>{, <town>|}.",
    "You are a {helpful|friendly|polite} assistant{ at <shop>|}.",
)

_KINDS = {
    "tea shop": "teapot,green tea,tea tin,tea strainer,herbal tea",
    "lamp workshop": "desk lamp,lantern,bulb,floor lamp,reading light",
    "bookbinder": "notebook,photo album,diary,sketchbook",
    "boot maker": "hiking boot,sandal,slipper,winter boot",
    "clock maker": "wall clock,alarm clock,pocket watch,kitchen timer",
    "toy shop": "train set,puzzle,wooden horse,kite,board game",
    "pottery": "mug,bowl,vase,plate,butter dish",
    "seed shop": "tomato seed,garden box,herb kit,plant pot",
    "soap maker": "lavender soap,shampoo bar,bath bomb,hand cream",
    "candle maker": "candle,tea light,candle holder,wax melt",
    "camera shop": "camera,lens,tripod,camera bag,film roll",
    "violin workshop": "violin,bow,music stand,guitar,metronome",
    "umbrella maker": "umbrella,rain coat,parasol,rain hat",
    "bag maker": "backpack,handbag,belt,wallet,travel bag",
    "headphone maker": "headphone,speaker,radio,ear plug,record player",
    "coffee roaster": "espresso,coffee grinder,filter coffee,milk jug",
    "bakery": "rye bread,plum cake,baking tin,cookie box",
    "cheese dairy": "goat cheese,cheese knife,fondue set,blue cheese",
    "pen shop": "fountain pen,ink bottle,pencil case,ruler",
    "tent maker": "tent,sleeping bag,hammock,camping stove,head torch",
    "bicycle shop": "bicycle bell,saddle,tyre,bike basket,bike pump",
    "drone workshop": "drone,charger,remote control,propeller",
    "yarn shop": "yarn,knitting kit,wool scarf,needle set",
    "hat maker": "straw hat,felt hat,cap,wool hat",
    "rug weaver": "rug,blanket,cushion,curtain",
    "furniture maker": "chair,table,shelf,stool,mirror",
    "honey farm": "honey,bee wax cloth,honey spoon,mead",
    "scooter shop": "scooter,helmet,scooter lock,knee pad",
    "phone repair shop": "power bank,phone case,cable,screen film",
    "knife smith": "kitchen knife,pocket knife,cutting board,whetstone",
}
_MODELS = _words(
    "Otter Comet Pine Juniper Atlas Nova Poppy Robin Cedar Echo Luna Dash Fjord Ivy Kite Lotus Mosaic Nimbus Onyx "
    "Pebble Quill Ridge Sable Tern Umber Vesper Willow Yarrow Zephyr Alba Birch Cosmo Delta Finch Grove"
)
_SHOP_ENDS = _words("Works,Studio,& Sons,& Daughters,Company,Goods,House,Supply,Makers,Corner,Brothers,Shop", ",")


# --- Shops and dialogues ----------------------------------------------------------------------------------------------


class Shop:
    """An invented shop. What it answers to a topic is drawn once and stays the same within its dialogue."""

    def __init__(self, rng: Random) -> None:
        """Draw the shop's name, place, products, mailbox and tone."""
        self._rng = rng
        self.kind = rng.choice(tuple(_KINDS))
        stem = word(rng, rng.randint(1, 3)).capitalize()
        second = rng.choice((word(rng, 1).capitalize(), rng.choice(_FIRST_NAMES)))
        last = rng.choice((*_SHOP_ENDS, self.kind.rsplit(" ", maxsplit=1)[-1].capitalize()))
        self.name = rng.choice((stem, f"{stem} {last}", f"{stem} & {second}", f"{second}'s {self.kind}"))
        mailbox = rng.choice((rng.choice(_MAILBOXES), rng.choice(_FIRST_NAMES).lower(), word(rng, 1)))
        self.email = f"{mailbox}@{stem.lower()}.example"
        self.town = town(rng)
        self.items = [self._name_item(item) for item in rng.sample(_KINDS[self.kind].split(","), 3)]
        self.tone = rng.choice(("plain", "plain", "plain", "warm", "short", "formal"))
        self._facts: dict[str, dict[str, str]] = {}

    def _name_item(self, item: str) -> str:
        name = self._rng.choice((*_MODELS, word(self._rng, 1).capitalize()))
        return self._rng.choice((item, item, f"{name} {item}", name))

    def facts(self, topic: Topic, item: str) -> dict[str, str]:
        """Return what the shop fills into the topic's templates."""
        key = f"{topic.name}/{item}" if any("<item>" in answer for answer in topic.answers) else topic.name
        if key not in self._facts:
            self._facts[key] = {slot: draw(self._rng) for slot, draw in topic.values.items()}
        return self._facts[key] | {
            "shop": self.name, "kind": self.kind, "town": self.town, "email": self.email, "item": item,
        }  # fmt: skip


_SHORTEST_WITH_A_SLIP = 12


def expand(rng: Random, template: str, slots: dict[str, str]) -> str:
    """Write a template out: choose among alternatives from the inside out, then fill the slots in."""
    while (match := _ALTERNATIVES.search(template)) is not None:
        template = template[: match.start()] + rng.choice(match[1].split("|")) + template[match.end() :]
    text = _SLOT.sub(lambda found: slots.get(found[1], rng.choice(_MONTHS)), template)
    return " ".join(text.split())


def _chance(rng: Random, percent: int) -> bool:
    return rng.random() * 100 < percent


def _untidy(rng: Random, text: str) -> str:
    """Write as hurried customers do: without capitals, without a question mark, with a slip of the finger."""
    if _chance(rng, 15):
        text = text.lower()
    if _chance(rng, 10):
        text = text.rstrip("?.!")
    if len(text) > _SHORTEST_WITH_A_SLIP and _chance(rng, 6):
        at = rng.randrange(1, len(text) - 2)
        text = text[:at] + rng.choice((text[at + 1] + text[at], "", text[at] * 2)) + text[at + 2 :]
    return text


def _question(rng: Random, topic: Topic, slots: dict[str, str]) -> str:
    body = rng.choice(topic.questions)
    if _chance(rng, 8):
        body = rng.choice(_INDIRECT) + body[:1].lower() + body[1:]
    return _untidy(rng, expand(rng, rng.choice(_OPENERS) + body + rng.choice(_CLOSERS), slots))


def _answer(rng: Random, shop: Shop, topic: Topic, slots: dict[str, str]) -> str:
    opener, closer = rng.choice(_ANSWER_OPENERS[shop.tone]), rng.choice(_ANSWER_CLOSERS[shop.tone])
    text = expand(rng, opener + rng.choice(topic.answers) + closer, slots)
    return text[:1].upper() + text[1:]


def _exchange(rng: Random, shop: Shop, topic: Topic, item: str) -> list[Message]:
    slots = shop.facts(topic, item)
    asked, answered = _question(rng, topic, slots), _answer(rng, shop, topic, slots)
    if _chance(rng, 6):
        second = rng.choice(TOPICS)
        more = shop.facts(second, item)
        asked += " " + _untidy(rng, expand(rng, "{And |Also, |}" + rng.choice(second.questions), more))
        answered += " " + expand(rng, rng.choice(second.answers), more)
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def _chatter(rng: Random, shop: Shop) -> list[Message]:
    asked, answered = rng.choice(_SMALL_TALK)
    slots = {"shop": shop.name, "item": rng.choice(shop.items)}
    return [
        {"role": "user", "content": _untidy(rng, expand(rng, rng.choice(asked), slots))},
        {"role": "assistant", "content": expand(rng, rng.choice(answered), slots)},
    ]


def _system(rng: Random, shop: Shop, noted: list[Topic]) -> Message:
    text = expand(rng, rng.choice(_SYSTEM), {"shop": shop.name, "kind": shop.kind, "town": shop.town})
    if noted:
        notes = [expand(rng, rng.choice(topic.answers), shop.facts(topic, shop.items[0])) for topic in noted]
        text += rng.choice((" Notes: ", " What you know: ", " ", "\n")) + " ".join(notes)
    return {"role": "system", "content": text}


def dialogue(rng: Random) -> list[Message]:
    """Write one dialogue of one new shop.

    Mostly it is a single exchange, sometimes several; one in five stands under a system text, half of these with notes
    of which the answers make use.
    """
    shop = Shop(rng)
    messages: list[Message] = []
    noted: list[Topic] = []
    if _chance(rng, 22):
        noted = rng.sample(TOPICS, rng.randint(1, 3)) if _chance(rng, 50) else []
        messages.append(_system(rng, shop, noted))
    turns = rng.choices((1, 2, 3, 4, 8, 14), weights=(60, 18, 10, 8, 3, 1))[0]
    for turn in range(turns):
        if _chance(rng, 4 if turns == 1 else 15 if turn in (0, turns - 1) else 3):
            messages += _chatter(rng, shop)
        elif noted and _chance(rng, 60):
            messages += _exchange(rng, shop, rng.choice(noted), shop.items[0])
        else:
            messages += _exchange(rng, shop, rng.choice(TOPICS), rng.choice(shop.items))
    return messages


def dialogues(count: int, seed: int) -> Iterator[list[Message]]:
    """Write `count` dialogues, the same ones for the same seed."""
    rng = Random(seed)
    for _ in range(count):
        yield dialogue(rng)


def main() -> None:
    """Print a few dialogues, for a look at the text."""
    for messages in dialogues(12, seed=0):
        for message in messages:
            print(f"{message['role']:>9}: {message['content']}")
        print()


if __name__ == "__main__":
    main()
