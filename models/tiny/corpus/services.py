"""What customers ask about discounts, payment, repairs and other services."""

from corpus.draws import code, money, number, part_number, some_of, span
from corpus.topic import Topic, texts

_PAYMENTS = ("card", "bank transfer", "invoice", "cash", "direct debit", "cheque", "gift card", "phone", "instalments")

SERVICES = (
    Topic(
        name="discount_code",
        weight=4,
        questions=texts("""
            {Do you have|Is there|Have you got} {a|any|some} {discount|discount code|voucher|promo
                code|coupon|voucher code|special offer|code}{| for new customers| for me| at the moment| for
                first-time buyers}?
            {Which|What} {code|voucher|discount code|promo code} {do I enter|gives me a discount|can I use|makes it
                cheaper|takes money off|must I type|works} {at the checkout|in your shop|on my first order|}?
            How do I get {a discount|money off|something off|it cheaper|a better price|a lower price}?
            {Can|May} I {get|have} a {code|coupon|voucher|discount}{| as a new customer| for the newsletter| for my
                first order}?
            {What|Do} I {get|save} {something |}{when|if} I {sign up for|join|subscribe to} {the|your} newsletter?
            {I signed up|I joined} {for the newsletter|your mailing list}. {What is my code|Where is my
                discount|Which code do I get}?
            {I joined|I get|I read} your newsletter. {What is my code|Where is my discount|Do I save something}?
            {Is there|Do you know} {any|some|a} {way to save|reduction|special offer|way to get it cheaper|trick to
                pay less} {on my first order|as a new customer|with a code|}?
            What {do|can|should|must} I {type|enter|put|write} {in|into} the {code field|discount field|field for the
                code|voucher box|promo box}{| to pay less| to save money| so that it gets cheaper}?
            {The checkout|Your checkout|The order page} {has a field|asks} for a {code|voucher|coupon}. {What do I
                type|Which code do I enter|What do I enter|Is there one}?
            {I am a new customer|I am a first-time buyer|It is my first order|I am new here|I never ordered before}.
                {Is there a code for me|Do I get a discount|Which code can I use|What code takes money off|Is there a
                voucher}?
            {What|Which} {word|code|text} {brings|gives} {the price down|me money off|a discount|a reduction}?
            Is there {something|a word|a code|anything} {to enter|to type|I can enter} {so that I pay less|to save
                money|to make it cheaper|for a discount}?
        """),
        nouns=texts("""
            the {discount code|promo code|voucher code|newsletter code|coupon code|code for new customers}
            my newsletter discount
            {a|the} code {for the checkout|to type in|to make it cheaper|for a discount|that takes money off|for my
                first order}
        """),
        clauses=texts("""
            what I {type|enter|put} {into the code field|in the discount field|at the checkout}
            which {code|voucher} {makes it cheaper|I can use|takes money off|gives a discount|works}
            whether there is a {discount|code|voucher} {for new customers|for me|at the moment}
        """),
        offers=texts("""
            {a|any} {discount code|voucher|promo code|coupon|voucher code|newsletter code|discount}
            a {code|discount|voucher} for {new customers|my first order|the newsletter|first-time buyers}
            some code {to save money|to pay less|for a discount}
        """),
        answers=texts("""
            {Use|Enter|Take} {the |our |}code <code>{ at the checkout| for <percent> percent off|}.
            {Yes, with|With} {the |}code <code> you {get|save} <percent> percent.
            {The|Your} code is <code>{, it takes <percent> percent off|}.
        """),
        values={"code": code, "percent": number(4, 30)},
    ),
    Topic(
        name="student_discount",
        weight=3,
        questions=texts("""
            {Do|Can} {students|students|pupils|teachers} {get|have} {a discount|money off|a better price|a
                reduction|it cheaper}?
            I am a {student|student|teacher|pupil}. {Is it cheaper for me|Do I pay less|Is there a discount|What do I
                pay|How much do I save|Do I get something off}?
            Is there a {student|student|teacher} {discount|price|reduction|rate|tariff}?
            {How much|What|How many percent} do {students|students|pupils} {save|pay|get off|get}?
            I {go to university|study|am at university|am still at school|am at college}. {Is it cheaper for me|Is
                there a better price|Do I get a discount|How much do I save|Is the <item> cheaper for me}?
            My {daughter|son|brother|sister} {studies|is a student|goes to university}. {Does she get money off|Does
                he pay less|Is it cheaper|Is there a discount}?
            {By how much|By how many percent|How much} is {it|<obj>} {reduced|cheaper} for {a student|students|people
                at university}?
            {What|Which} {reduction|discount|percentage} {do students have|does a student get|is there for
                students|do I get with a student card}?
            {Can|May} I use my student card{| with you| here}?
            Is <obj> cheaper {for students|with a student card|if I study}?
            With a student {card|pass|ID}, {how much is it cheaper|what do I save|how much do I save|do I pay less}?
        """),
        nouns=texts("""
            the {student discount|price for students|student price|reduction for students|discount for
                students|student reduction}
            the {discount|reduction} with a student card
        """),
        clauses=texts("""
            by how much it is {reduced|cheaper} for {a student|students}
            what a student {saves|pays}
            how much students {save|get off}
            whether {students pay less|it is cheaper for students}
        """),
        offers=texts("""
            a {student|student|teacher} {discount|price|reduction|rate}
            {a discount|something} for students
        """),
        answers=texts("""
            {Yes, students|Students} {get|save|have} <percent> percent{ off|}.
            {With a student card|For students} {it is|we take|you get|you save} <percent> percent{ off| less|
                cheaper|}.
            {Yes, students|Students} pay <percent> percent less.
        """),
        values={"percent": number(3, 40)},
    ),
    Topic(
        name="repair",
        weight=4,
        questions=texts("""
            {Do|Can|Could|Would} you {repair|fix|mend} {things|<obj>|my <item>|old ones|a broken <item>|broken
                <item>s|it}?
            {My|The} <item> is {broken|damaged|cracked|not working|bent|in two pieces|scratched}. {Can you fix
                it|What does a repair cost|What does mending cost|How much is a repair|Can it be repaired|What would
                it cost to fix it}?
            {My|The} <item> {broke|fell down|has a crack|does not work}. {Can you mend it|What does fixing it
                cost|How much do you charge to repair it|What is a repair}?
            I {dropped|broke|damaged|cracked|stepped on} {my|the} <item>. {What does a repair cost|Can you fix it|How
                much is it to repair it|What would mending cost|What do you charge for fixing it}?
            How much {do you charge|is it|do I pay|would I pay|does it cost} {to fix|to repair|for repairing|to
                mend|for fixing|for mending} {a|my|the|a broken} <item>?
            {Is it possible|Is there a way} to have {my <item>|it} {repaired|mended|fixed}?
            What {do|would} I {pay|have to pay} to {have|get} {it|my <item>|a broken <item>} {mended|fixed|repaired}?
            {Do|Can|Could} you {take in|take|look at|deal with} {broken|damaged|old} <item>s{ for repair|}?
            The {glass|lid|strap|switch|handle|button} of my <item> is {cracked|broken|loose|gone}. {Can it be
                repaired|What does that cost|Can you mend that|How much is the repair}?
            How much {is it|does it cost} to have {my <item>|a <item>|something} {fixed|repaired|mended}{| by you| in
                your workshop}?
            What do you {ask|take|charge|want} for {repairing|mending|fixing} {a|my} <item>?
            {Will|Would} a repair be expensive{| for my <item>}?
        """),
        nouns=texts("""
            the {price|cost|fee} {of|for} {a repair|fixing it|mending it|having it mended|repairing my <item>|the
                repair}
            the repair {cost|price|fee|costs}
        """),
        clauses=texts("""
            {what|how much} {a repair|mending it|fixing a broken <item>|the repair} {costs|would cost}
            what I {would |}pay to have {it|a broken <item>} {mended|fixed|repaired}
            whether you {repair|mend|fix} {it|my <item>}
        """),
        prices=texts("""
            {a|the} repair
            {repairing|mending|fixing} {a|my|the} {broken |old |}<item>
            {repairing|mending|fixing} it
            {a|the} repair {of my <item>|in your workshop|by you}
        """),
        offers=texts("""
            a repair service
            {repairs|a repair} for {broken <item>s|my <item>}
        """),
        actions=texts("""
            have {my|a broken} <item> {repaired|fixed|mended}
            {send|bring} {in |}{my|a} {broken|damaged} <item>
        """),
        answers=texts("""
            {Yes, a|A} repair costs <price>.
            {Yes, we|We} {repair|fix|mend} {it|any <item>|them} for <price>.
            {Yes, we|We} {repair|fix|mend} any of our <item>s for <price>.
            {Repairs|Our repairs} {cost|are} <price>{, whatever is broken|}.
        """),
        values={"price": money(5, 95)},
    ),
    Topic(
        name="repair_time",
        questions=texts("""
            How long does a repair take?
            When {do I get|will I have} my {repaired |mended |}<item> back{ from the workshop|}?
            {How many weeks|How many days|How long} {will you keep|do you need for} {it|my <item>|the repair}?
        """),
        nouns=texts("""
            the time {a repair takes|of a repair}
        """),
        clauses=texts("""
            how long {a repair takes|mending it takes}
            when the repair is done
        """),
        durations=texts("""
            {a|the} repair
            {mending|fixing|repairing} {it|a <item>}
        """),
        answers=texts("""
            A repair takes <days> days.
            You {get|have} it back {after|in|within} <days> days.
            {We|Our workshop} {need|needs} <days> days.
        """),
        values={"days": span(2, 30)},
    ),
    Topic(
        name="bulk",
        questions=texts("""
            {Is there|Do you give} a discount for {large|bulk|company|big} orders?
            {Our club|My company} {needs|wants} {20|50|many} {pieces|<item>s}. {Is that cheaper|What is the price}?
            From how many pieces {is it|does it get} cheaper?
        """),
        nouns=texts("""
            the {discount|price} for a bulk order
        """),
        clauses=texts("""
            what we get when we buy many
        """),
        answers=texts("""
            From <count> pieces {you get|we give} <percent> percent off.
            {Orders of|If you take} <count> or more {are|get} <percent> percent {cheaper|off}.
        """),
        values={"count": number(5, 60), "percent": number(5, 30)},
    ),
    Topic(
        name="payment",
        questions=texts("""
            How can I pay?
            {Which|What} {ways of payment|payment methods|means of payment} {do you take|are there|do you accept}?
            {Can|May} I pay {by card|by invoice|in cash|by bank transfer|in instalments|with my phone}?
            {Do you|Does the shop} {take|accept} {cards|cash|cheques|bank transfers|credit cards}?
            What {can I pay with|do I pay with|cards do you take}?
        """),
        nouns=texts("""
            the {ways to pay|payment methods|means of payment}
        """),
        clauses=texts("""
            how I can pay
            what I can pay with
        """),
        answers=texts("""
            {You can|Please} pay by <methods>.
            We {accept|take} <methods>.
            {Payment is|Paying is} {possible |}by <methods>.
        """),
        values={"methods": some_of(3, *_PAYMENTS)},
    ),
    Topic(
        name="gift_wrap",
        questions=texts("""
            {Do|Can|Could} you {wrap|gift-wrap} {it|the <item>|presents|things|my order}{ for me|}?
            {It is a present|It is a gift|I want to give it away}. {Can you wrap it|Is there gift wrapping}?
            {Can it be|Could it be|Is it possible to have it} wrapped {as a present|for a birthday|nicely}?
        """),
        nouns=texts("""
            the {price|cost} of {gift wrapping|a gift box}
        """),
        clauses=texts("""
            what {gift wrapping|a gift box} costs
            whether you wrap presents
        """),
        prices=texts("""
            {gift wrapping|a gift box|wrapping}
        """),
        offers=texts("""
            {wrapping paper|a gift option|a nice box}
        """),
        answers=texts("""
            {Yes, gift wrapping|Gift wrapping|A gift box} {costs|is} <price>.
            {Yes, we|We} wrap {it|presents|your order} for <price>.
            {Yes, for|For} <price> we {wrap it|put it in a gift box}.
        """),
        values={"price": money(1, 12)},
    ),
    Topic(
        name="gift_card",
        questions=texts("""
            {Do you sell|Are there|Can I buy} {gift cards|gift vouchers}?
            How long is a {gift card|gift voucher} {valid|good for}?
            {When|Until when} {does|is} {my|a} gift card {expire|valid}?
        """),
        nouns=texts("""
            the {price|life} of a gift card
        """),
        clauses=texts("""
            how long a gift card is valid
        """),
        answers=texts("""
            {Gift cards|Vouchers|Our gift cards} are {valid|good} for <years> years.
            {Yes, gift cards|Gift cards} start at <price> and {last|are valid} <years> years.
        """),
        values={"years": number(1, 12), "price": money(5, 40)},
    ),
    Topic(
        name="spare_part",
        questions=texts("""
            {Do you sell|Are there|Can I get} {spare parts|a spare part|parts} {for the <item>|}?
            {Which|What} {part number|spare part|part} {do I need|fits the <item>|is it}?
            {Where do I get|I need|I am looking for} a {new|spare} {battery|lid|handle|strap|cable|screw}{.|?}
            I lost the {lid|strap|screw|cable|clip} of my <item>. {Can I order one|What is the part number}?
        """),
        nouns=texts("""
            the {part number|number of the spare part}
        """),
        clauses=texts("""
            which spare part {fits|I need}
        """),
        answers=texts("""
            {You need|Order|Ask for} part <part>.
            The {spare part|part number} is <part>.
            {Yes, it|It} is part <part>{ in our shop|}.
        """),
        values={"part": part_number},
    ),
    Topic(
        name="trade_in",
        questions=texts("""
            {Do|Would} you {take|buy} {my|an} old {<item>|one|ones} back?
            What do I get for my old <item>?
            {Can|May} I {trade in|hand in|exchange} {my|an} old <item>?
            {What|How much} do you {pay|give} for {a used|an old} <item>?
        """),
        nouns=texts("""
            the {price|money} for an old <item>
        """),
        clauses=texts("""
            what you {pay|give me} for {my|an} old one
        """),
        answers=texts("""
            {Yes, you|You} get <price> for {your|an} old <item>.
            {Yes, we|We} {give|pay} you <price> for {the|an} old one.
            {Bring|Send} {us |}your old one and {get|receive} <price>.
        """),
        values={"price": money(2, 80)},
    ),
    Topic(
        name="points",
        questions=texts("""
            {Do you have|Is there} a {loyalty|bonus|points} {programme|card|scheme}?
            How many {points|stamps} do I {need|get}{ for a reward|}?
            What {do I get|happens} {when|if} my {card|stamp card} is full?
        """),
        nouns=texts("""
            the number of {points|stamps} for a reward
        """),
        clauses=texts("""
            what my points are worth
        """),
        answers=texts("""
            {After|With} <count> {points|stamps} you get {a free <item>|<price> off}.
            {Yes, every|Every} <count> {points|stamps} {give you|are worth} <price>.
        """),
        values={"count": number(5, 120), "price": money(2, 30)},
    ),
    Topic(
        name="subscription",
        questions=texts("""
            {Do you have|Is there} a {subscription|monthly box|club}?
            {Can I get|Could you send} {the <item>|something} every month?
        """),
        nouns=texts("""
            the price of the {monthly box|subscription|membership}
        """),
        clauses=texts("""
            what the {subscription|monthly box} costs
        """),
        prices=texts("""
            the {subscription|monthly box|membership}
        """),
        answers=texts("""
            {Yes, the|The} {monthly box|subscription|club} {costs|is} <price> a {month|year}.
            {Yes, for|For} <price> a month you get {a surprise|a new <item>|a box}.
        """),
        values={"price": money(5, 70)},
    ),
    Topic(
        name="engraving",
        questions=texts("""
            {Can|Could|Do} you {engrave|print|put} {a name|my name|initials|a text} {on it|on the <item>}?
            {Is|Do you offer} {engraving|personalisation} {possible|}?
            How many letters {can|may} an engraving have?
        """),
        nouns=texts("""
            the price of an engraving
        """),
        clauses=texts("""
            what {a name on it|an engraving} costs
        """),
        prices=texts("""
            {an engraving|a name on it}
        """),
        answers=texts("""
            {Yes, an|An} engraving costs <price> for up to <count> letters.
            {Yes, up to|Up to} <count> letters for <price>.
        """),
        values={"price": money(2, 30), "count": number(5, 40)},
    ),
)
