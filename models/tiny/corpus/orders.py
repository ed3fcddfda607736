"""What customers ask about the way of an order: delivery and postage."""

from corpus.draws import money, number, span
from corpus.topic import Topic, texts

ORDERS = (
    Topic(
        name="delivery_time",
        weight=3,
        questions=texts("""
            How long does {delivery|shipping|standard delivery|the post|a normal delivery} take{| to my door| to me}?
            When {will|does|should|would} my <parcel> {arrive|get here|come|turn up|reach me|be at my door}?
            How {many days|long} until {my|the|a} <parcel> {arrives|is delivered|turns up|gets here|reaches my house}?
            If I {order|buy|pay} {today|now|this evening|tonight|this week}, when {do I get it|will I have it|does it
                come|is it here|can I expect it|will it be at my place}?
            How {fast|quickly|soon} {do|can|will} you <deliver>{| things| a <item>| my <parcel>| my order}?
            Roughly how long {should|must|do|will} I {wait|be waiting} for {a|my|the} <parcel>{| from you}?
            I {just ordered|bought|have ordered|paid for} {a|the} <item>. {How long is the wait|How long will it
                take|When can I expect it|When does it come|How many days will that take}?
            {After|Within|In} how many days {is|will} {my|an|the} <parcel> {be |}{delivered|here|at my house}?
            How {long|many days} {is|are} {a parcel|parcels|my order|the <item>} {on the way|on the road|in the post}?
            {How soon|When} {will|can|does} the {postman|postwoman|courier|driver|mail} bring my <parcel>?
            How many days will I {be waiting|wait|have to wait} {for|until I get} my <parcel>?
            Will {my|the} <parcel> be here {by|before|on} {Friday|Monday|the weekend|my birthday|next week|Easter}?
            How many days {pass|go by|are there} between {ordering|the order|paying} and {delivery|getting it}?
            {What|Which} {day|date} {can I expect|should I expect|will I get} my <parcel>?
            How {long|many days} from {order|checkout|payment} to {my door|delivery|my home}?
        """),
        nouns=texts("""
            {the|your|the usual|the normal} {delivery|shipping} time
            the {wait|waiting time} for {a parcel|an order}
            the {expected |likely |}{arrival|delivery} {date|day} of my <parcel>
            delivery times
        """),
        clauses=texts("""
            how {long|many days} {delivery takes|I will be waiting|a parcel needs|I have to wait|shipping takes}
            when {my <parcel>|it} {is delivered|comes|will be here|arrives|gets to me}
            how {soon|fast|quickly} {you <deliver>|I can have it|the <item> will be here}
        """),
        durations=texts("""
            {standard |normal |regular |}{delivery|shipping}
            a {normal |}delivery
            an order to arrive
        """),
        situations=texts("""
            I ordered {yesterday|last night|on Monday|this morning|two days ago}.
            I {leave for a trip|go on holiday|have a party} {soon|next week|on Sunday}.
            My order is {placed|paid|confirmed}.
        """),
        answers=texts("""
            {Standard|Normal|Our usual} {delivery|shipping} takes <days> {working |}days.
            {Your order|Your parcel|It} {arrives|will be with you|will reach you} {within|in} <days> {working |}days.
            We {deliver|ship} {within|in} <days> {working |}days.
            {Count on|Please allow|Allow} <days> {working |}days {for delivery|from order to door|}.
            It {usually |}takes <days> {working |}days {until the parcel is at your door|by post|}.
        """),
        values={"days": span(2, 16)},
    ),
    Topic(
        name="express_price",
        weight=3,
        questions=texts("""
            I need {it|my <item>|my order} {fast|urgently|tomorrow|quickly|very soon}. {What does that cost|What is
                the price of express|What do you charge|How much more is that|What does the fast option cost}?
            {Is there|Do you offer|Do you have} {express|faster|quicker|next-day|overnight} {shipping|delivery}, and
                {for how much|at what price|what does it cost|how much is it}?
            What {extra|surcharge|additional fee|supplement} {do I pay|is there|do you take|comes on top} for {a
                rush|an urgent|an express|a fast} {order|delivery|parcel}?
            Can you {rush|hurry|speed up} my <parcel>{ for a fee|}? How much {is it|would that be|is that}?
            How much {more|extra} {is it|do I pay|does it cost} {if you send it|when it goes|to have it sent} {by
                express|express|overnight|the fast way}?
            {What|How much} {do you add|comes on top|is added} {for|when I take|if I pick} express{| delivery|
                shipping}?
            I am in a {hurry|rush}. {How much is express|What does it cost to get it faster|What is the express fee}?
            {It has to be|It must be} here {tomorrow|fast|by Friday}. {How much is that|What do I pay|What is the
                cost}?
            What {do I pay|does it cost|is the price} {to get it|for getting it|to have it} {faster|sooner|more
                quickly|by express|the next day}?
        """),
        nouns=texts("""
            the {price|cost|fee|charge|surcharge} {of|for} {express|express delivery|the fast service|sending it by
                express|quick delivery|an urgent order|next-day delivery}
            the express {fee|price|surcharge|rate|charge}
        """),
        clauses=texts("""
            {what|how much} {express|express delivery|sending it fast|a fast parcel|the quick option} {costs|would
                cost}
            what you {charge|take|ask} for {express|a rush order|the fast delivery}
            how much {more|extra} {express|it|the fast way} {is|costs}
        """),
        prices=texts("""
            {express|fast|next-day|overnight|urgent|quick|faster|same-day} {delivery|shipping|postage}
            express
            an {express|urgent} {parcel|order|delivery|shipment}
            the {express|fast|quick} {option|service|way}
            sending {it|my order|the <item>} {by express|the fast way|express|quickly}
        """),
        situations=texts("""
            I am in a {hurry|rush}.
            It is urgent.
            I need it {tomorrow|this week|by Saturday}.
        """),
        answers=texts("""
            Express {delivery|shipping} costs <price>.
            {For|At} <price> {we send it by express|you get express delivery|your order goes express}.
            {Yes, |}{we|our team} {charge|charges} <price> for express{ delivery|}.
            The express {option|service} is <price>{ per order|}.
            {We|You can have us} send it by express for <price>.
        """),
        values={"price": money(4, 39)},
    ),
    Topic(
        name="free_shipping",
        weight=3,
        questions=texts("""
            {When|From what amount|From which sum|At what point} {is|do you make} {shipping|delivery|postage} free?
            How much {must|do|should|would} I {have to |}{spend|order|order for|buy} {to get|for|to reach|to have}
                free {delivery|shipping|postage}?
            Do I {have to |}pay {postage|for shipping|for delivery} {on a big order|if I buy a lot|for a large
                order|when I take three}?
            {At|Above|From|Over} which {order value|amount|total|sum|price} {do you <deliver>|is shipping|is it sent}
                for {free|nothing}?
            How {do|can} I {avoid|save|get around|skip} {paying |}{postage|the shipping fee|delivery costs|the
                postage}?
            How {much|large|big|high} {must|should|does|do} {my|an|the} {order|basket|cart|bill|purchase} {be|have to
                be} {for free delivery|so that shipping is free|so that I pay no postage|before delivery is
                free|until you pay the postage}?
            What {must|does|should} my {order|basket|bill|cart} {come to|reach|be worth} {to pay no postage|so that
                shipping costs nothing|so that delivery is free|to have it sent for free}?
            {When|From when|On what orders} do {I|we|you|customers} {pay no|not pay|not charge} {postage|shipping}?
            Do you {ever |}{<deliver>} {free of charge|for free|for nothing|without postage}?
            {Is|Are} {shipping|delivery|postage|shipping costs} {free|waived|on you|included} {if I buy
                {two|three|many} <item>s|above some amount|for large orders|at some point}?
            How much {more |}do I {need|have} to {put in my basket|add|order} {for free shipping|to save the postage}?
        """),
        nouns=texts("""
            the {amount|order value|limit|minimum|threshold|total|sum} for free {shipping|delivery|postage}
            the {minimum order|smallest order} {for|with} free {shipping|delivery|postage}
        """),
        clauses=texts("""
            {what|how much} {my order|I} must {come to|reach|spend} {to pay no postage|so that shipping costs
                nothing|for free delivery}
            {when|from what amount} {shipping|delivery|postage} is {free|on you}
            how {big|large} {an|my} order {must be|has to be} {for free shipping|to pay no shipping}
        """),
        offers=texts("""
            {free|cost-free} {shipping|delivery|postage}
            a {minimum|limit|threshold} for free {shipping|delivery}
            free {shipping|delivery} {on large orders|from some amount|for big orders}
        """),
        situations=texts("""
            I {am buying|want} {two|three|several} <item>s.
            My basket is {nearly full|quite big}.
        """),
        answers=texts("""
            {Shipping|Delivery} is free {from|above|for orders over} <amount>.
            {Orders|Everything} {over|above|from} <amount> {ship|ships|go out} for free.
            {Once|When} your {order|basket} {reaches|is over} <amount>, {we pay the postage|delivery is free}.
            We {ship|deliver} {free of charge|for free} {from|above} <amount>.
            We pay the postage {once|when} your {basket|order} is over <amount>.
        """),
        values={"amount": money(20, 240)},
    ),
    Topic(
        name="shipping_price",
        questions=texts("""
            How much is {normal |standard |}{shipping|postage|delivery}?
            What {do I pay|does it cost} {to have it sent|for postage|for standard delivery}?
            What are {the|your} {normal |standard |}{shipping|delivery} {costs|fees|charges}?
            {Do you charge|What do you charge} for {sending|posting} {a parcel|a <item>|an order}?
        """),
        nouns=texts("""
            the {price|cost} of {normal|standard} {shipping|delivery}
            the postage
        """),
        clauses=texts("""
            what {normal|standard} {shipping|delivery} costs
        """),
        prices=texts("""
            {normal|standard|regular} {shipping|delivery|postage}
            {sending|posting} a parcel
        """),
        answers=texts("""
            {Standard|Normal} {shipping|delivery|postage} is <price>.
            {We charge|You pay} <price> for {postage|standard shipping}.
            {A parcel|Sending a parcel} costs <price>.
        """),
        values={"price": money(2, 14)},
    ),
    Topic(
        name="countries",
        weight=3,
        questions=texts("""
            {Do|Can|Would|Will|Could} you <deliver> {abroad|to other countries|overseas|outside the country|to
                foreign countries|everywhere|worldwide|across the border|internationally|beyond the border}?
            {How many|To how many|In how many} countries do you {<deliver>|sell|deliver} {to|}?
            {I live|I am|We live|My brother lives|My friend lives|My aunt is|My parents live|My daughter lives}
                {abroad|in another country|overseas|in a foreign country|far away|on an island|on the other side of
                the sea}. {Can I order|Do you deliver here|Can you send it there|Do you ship there|Would you send a
                <item> there|Can we order}?
            Is {international|foreign|worldwide} {shipping|delivery|postage} possible?
            Where {in the world |else |}do you <deliver> {to|}?
            {Which|What|To which} {countries|places|lands|parts of the world} {can I have it sent|do you <deliver>
                to|can you {<deliver>} to|are on your list|do you serve}?
            {Can|Could|May|Do} {people|customers|friends|buyers|somebody} {from|in} {abroad|other countries|another
                country|foreign countries} {order|buy|get a <item>|shop with you}{| too| as well}?
            {Can|Could|Would} you <deliver> {a|the|my} <parcel> to {my|a} {friend|cousin|brother|sister|address}
                {abroad|in another country|overseas|outside your country}?
            Is my {country|home country} {on your list|among them|included|one you ship to}?
            How far {do you|can you|will you} {<deliver>|go}?
            I am {moving|travelling} {abroad|to another country}. {Will you still deliver|Can it be sent there}?
            Do you {only |just |}{<deliver>} {at home|within the country|inside your country} or {also
                abroad|elsewhere too}?
        """),
        nouns=texts("""
            the {number|list} of {countries|places} {you deliver to|you ship to|on your list}
        """),
        clauses=texts("""
            {in|to} how many countries you {deliver|ship|sell}
            whether {foreign customers|people abroad} can order
            whether you {<deliver>} {abroad|overseas|to another country}
            which countries you <deliver> to
        """),
        offers=texts("""
            {international|worldwide|foreign} {shipping|delivery}
            {delivery|shipping} {abroad|overseas}
        """),
        actions=texts("""
            have it sent {abroad|to another country|to a foreign address|overseas}
            order from {abroad|overseas}
        """),
        answers=texts("""
            {Yes, we|We} {ship|deliver} to <count> countries.
            {Yes, |}we send {parcels|our <item>} to <count> countries.
            We {deliver|post} to <count> countries {at the moment|in all|}.
            {Our parcels|Orders} {go|can go} to <count> countries.
        """),
        values={"count": number(3, 90)},
    ),
)
