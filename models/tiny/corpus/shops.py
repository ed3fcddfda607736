"""Invented shops: their names, kinds, products and facts."""

from random import Random

from corpus.draws import FIRST_NAMES, MAILBOXES, town, word, words
from corpus.topic import Topic

_KINDS = {
    "tea shop": "teapot,green tea,tea tin,tea strainer,herbal tea",
    "lamp workshop": "lamp,desk lamp,lantern,bulb,floor lamp,reading light,rear lamp,front lamp,torch",
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
    "bicycle shop": "bicycle bell,saddle,tyre,bike basket,bike pump,rear light,front light,bike lock,handlebar",
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
_MODELS = words(
    "Otter Comet Pine Juniper Atlas Nova Poppy Robin Cedar Echo Luna Dash Fjord Ivy Kite Lotus Mosaic Nimbus Onyx "
    "Pebble Quill Ridge Sable Tern Umber Vesper Willow Yarrow Zephyr Alba Birch Cosmo Delta Finch Grove"
)
_SHOP_ENDS = words("Works,Studio,& Sons,& Daughters,Company,Goods,House,Supply,Makers,Corner,Brothers,Shop", ",")


class Shop:
    """An invented shop. What it answers to a topic is drawn once and stays the same within its dialogue."""

    def __init__(self, rng: Random) -> None:
        """Draw the shop's name, place, products, mailbox and tone."""
        self._rng = rng
        self.kind = rng.choice(tuple(_KINDS))
        stem = word(rng, rng.randint(1, 3)).capitalize()
        second = rng.choice((word(rng, 1).capitalize(), rng.choice(FIRST_NAMES)))
        last = rng.choice((*_SHOP_ENDS, self.kind.rsplit(" ", maxsplit=1)[-1].capitalize()))
        self.name = rng.choice((stem, f"{stem} {last}", f"{stem} & {second}", f"{second}'s {self.kind}"))
        mailbox = rng.choice((rng.choice(MAILBOXES), rng.choice(FIRST_NAMES).lower(), word(rng, 1)))
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
