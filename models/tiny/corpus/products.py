"""What else customers ask about a product: material, colours, stock, care."""

from corpus.draws import COLOURS, MATERIALS, MONTHS, money, number, one_of, some_of
from corpus.topic import Topic, texts

PRODUCTS = (
    Topic(
        name="material",
        questions=texts("""
            What is {it|the <item>} made {of|from}?
            {Which|What} material {is it|do you use|is the <item>}?
            Is the <item> made of {plastic|metal|wood|something natural}?
        """),
        nouns=texts("""
            the material of the <item>
        """),
        clauses=texts("""
            what {the <item>|it} is made of
        """),
        answers=texts("""
            {It|The <item>} is made {of|from} <material>.
            We {use|work with|only use} <material>.
            The {body|outside|material} is <material>.
        """),
        values={"material": one_of(*MATERIALS)},
    ),
    Topic(
        name="colours",
        questions=texts("""
            {What|Which} colours {do you have|are there|does it come in|can I choose}?
            Is the <item> {available in|sold in|made in} {other colours|red|black|blue|green}?
            Do you have {it|the <item>} in another colour?
        """),
        nouns=texts("""
            the colours of the <item>
        """),
        clauses=texts("""
            {which|what} colours it {has|comes in}
        """),
        answers=texts("""
            {It|The <item>} comes in <colours>.
            You can {choose|pick} {between |}<colours>.
            We {have|make|sell} it in <colours>.
        """),
        values={"colours": some_of(3, *COLOURS)},
    ),
    Topic(
        name="stock",
        questions=texts("""
            {When|How soon} {is|will} the <item> {back|be back|available} {again|in stock}?
            Is the <item> {in stock|sold out|available}?
            {Do you still have|Have you got} {a|the|any} <item>{ left|}?
        """),
        nouns=texts("""
            the date the <item> is back
        """),
        clauses=texts("""
            when the <item> is back
        """),
        answers=texts("""
            {The <item>|It} is back in <month>.
            {It is sold out until|We expect it again in|The next ones come in} <month>.
            {Yes, we have|We still have} <count> {left|in stock}.
        """),
        values={"month": one_of(*MONTHS), "count": number(2, 90)},
    ),
    Topic(
        name="care",
        questions=texts("""
            How do I {clean|wash|look after|care for} {the|my} <item>?
            {Can|May} I {wash|put} the <item> {in the dishwasher|in the machine|with soap}?
            What {temperature|degrees} {can it stand|is safe|may I wash it at}?
        """),
        nouns=texts("""
            the {temperature|right way} to {wash|clean} the <item>
        """),
        clauses=texts("""
            how {hot I can wash it|I clean it}
        """),
        answers=texts("""
            {Wash|Clean} it {by hand |}at {most |}<degrees> degrees.
            {A soft cloth|Warm water} is enough, at most <degrees> degrees.
            It {stands|takes|is safe up to} <degrees> degrees.
        """),
        values={"degrees": number(20, 95)},
    ),
    Topic(
        name="age",
        questions=texts("""
            {From what age|How old} {is it|should a child be|must you be}{ suitable|}?
            Is the <item> {safe|suitable|fine} for {children|my daughter|a baby|my son|kids}?
            {What is|Is there} {the|a} {minimum age|lowest age}?
        """),
        nouns=texts("""
            the minimum age
        """),
        clauses=texts("""
            from what age {it|the <item>} is safe
        """),
        answers=texts("""
            {It is made for|We recommend it for} {children |people |}{from|over} <years> years.
            {It|The <item>} is {safe|suitable|fine} from the age of <years>.
        """),
        values={"years": number(1, 18)},
    ),
    Topic(
        name="bestseller",
        questions=texts("""
            What do you {recommend|sell most|like best}?
            {Which|What} is your {bestseller|favourite|most popular product}?
            {I need|I am looking for} {a present|something nice|a gift}. {What do you suggest|Any ideas}?
        """),
        nouns=texts("""
            your {bestseller|best product|favourite}
        """),
        clauses=texts("""
            what you recommend
            what people buy most
        """),
        answers=texts("""
            {Most people|Our customers} {love|buy|choose} the <item>.
            {I would take|I suggest|We recommend} the <item>{, it costs <price>|}.
            Our bestseller is the <item>.
        """),
        values={"price": money(6, 90)},
    ),
)
