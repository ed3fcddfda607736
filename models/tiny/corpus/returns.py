"""What customers ask after they have ordered: returns, refunds, cancelling, collecting."""

from corpus.draws import clock, money, number, span
from corpus.topic import Topic, texts

RETURNS = (
    Topic(
        name="returns",
        weight=3,
        questions=texts("""
            How long {can|may|could} I {return|send back|give back|bring back|hand back} {an
                item|<thing>|something|it|an order}?
            {How many days|How much time|What time} {do I have|are there|is there|do you give me|have I got} {to
                return it|to send it back|for a return|to give it back|to bring <thing> back|before I must return it}?
            {Can|May|Could} I {return|send back|bring back|give back} {my|the|a} <item>{| if I do not like it| when
                it is wrong| if it does not fit| again| later}?
            {I changed my mind|I do not like it|It does not fit|It is the wrong size|I do not want it|It was a
                mistake|I do not need it any more|My wife hates it|I am not happy with the <item>|I do not like the
                colour}. {Until when can I return it|How long can I send it back|Can I send it back|Can it go
                back|How much time have I got|Is there a time limit|Do you take it back|May I give it back}?
            {Until when|For how long|How long} do you {take things back|accept returns|take back a <item>|accept
                goods back}?
            {What if|Suppose} I {do not like|am not happy with|am not satisfied with|no longer want} {it|my order|the
                <item>}? {Can it go back|Do you take it back|How long can I return it|How many days have I got}?
            {By when|Until when|Till when|Within how many days} {must|should|can|do} {I|a return|things} {send it
                back|be back|return it|reach you|go back}?
            Do you {take back|accept} {used|opened|unwanted} {goods|items|things|<item>s}, and for how long?
            {Is it|Am I} too late {to return|for returning|to send back} {my <item>|something from {last month|last
                week}}?
            How long {can|may} I {keep|try|test|use} {it|the <item>} {before I have to return it|and still return
                it|at home before sending it back|and get my money back}?
            If {I am not happy|it is not right|it does not please me|it does not suit me|I change my mind}, {how long
                can I return it|how many days do I have|can I send it back|what is the deadline}?
        """),
        nouns=texts("""
            {your|the} return {policy|period|window|deadline}
            the {time|rules|deadline|time limit} for {a return|returns}
            the {last day|latest day|period} {for sending things back|to return something}
        """),
        clauses=texts("""
            how {long|many days} {I can return it|there are to return it|I have for a return|I can give it back}
            until when {I can send it back|things can go back|you take things back}
            how much time {I have|there is} to {return it|send it back|bring it back}
        """),
        actions=texts("""
            {return|send back|give back|bring back} {it|the <item>|my <item>|an order|something|a <item> that I do
                not like}
            {try it|test it} {at home |}and {send it back|return it|give it back}{| later}
        """),
        offers=texts("""
            a {deadline|time limit} for {returns|returning things|sending things back}
            a right of return
        """),
        situations=texts("""
            The <item> {does not fit|is not what I expected|is too {big|small}}.
            I {do not like|regret} {my order|it}.
            I {bought|ordered} the wrong <item>.
        """),
        answers=texts("""
            You {can|may} {return|send back} {anything|any item|everything|it} within <days> days.
            {Returns are|Sending back is} {possible|accepted|free} for <days> days.
            You have <days> days to {return it|send it back|change your mind}.
            {Our return period is|The return window is} <days> days.
            We {take|accept} {it|things|everything} back {for|within} <days> days.
        """),
        values={"days": number(7, 120)},
    ),
    Topic(
        name="return_cost",
        questions=texts("""
            Who pays {for |}{a return|return postage|the return parcel}?
            {Is|Are} {a return|returns} free?
            What does {it cost to send something back|a return cost}?
            Do I {pay|have to pay} {postage |shipping |}when I {return|send back} {a <item>|something}?
        """),
        nouns=texts("""
            the {price|cost} of {a return|a return label|sending it back}
        """),
        clauses=texts("""
            who pays for the return
        """),
        prices=texts("""
            a return label
            a return
            sending {it|something} back
        """),
        answers=texts("""
            A return {label |}costs <price>.
            We {take|deduct|keep} <price> for {the|a} return{ label|}.
            {Returns cost|Sending it back costs} <price>.
        """),
        values={"price": money(1, 12)},
    ),
    Topic(
        name="refund_time",
        weight=3,
        questions=texts("""
            How long {does|will} {a|my|the} refund {take|need}?
            When {do I get|will I see|will I have|can I expect|do I receive} {my money|my refund|the money}
                {back|again|}?
            I {returned|sent back|gave back} {my <item>|it|my order}. {When will I be paid back|When is the money
                back|When is the refund coming|Where is my money|How long until I get the money|When do I see the
                money}?
            {How fast|How quickly|How soon} {do|will|can} you {refund|pay back|return the money|give the money back}?
            When {does|will} {the|my} {refund|money} {reach|arrive in|get to|be in|be on|come to} my {account|bank}?
            {My return|The parcel} {was|went back|left} {a week|some days} ago. {Where is the refund|When do you pay}?
            {After|Within|In} how many days {is|will} {a|the|my} {refund|money} {be
                |}{paid|sent|made|transferred|back}?
            How {many days|long} {pass|do I wait|is the wait|must I wait} {until|before} {you refund me|the money
                comes|I get my money back|the refund is here|I am paid back}?
            How {much longer|long} {must|do|will} I wait for my {refund|money}?
            You {have|received|got} my {return|parcel} {back|}. {When do you pay me back|How long does the money
                take|When is the refund made}?
            {I am waiting|I still wait} for my {refund|money}. {How much longer|When will it come|When does it
                arrive}?
        """),
        nouns=texts("""
            the refund time
            the {usual |}time {of|for|until} a refund
            the {date|day} of my refund
        """),
        clauses=texts("""
            when {I get my money back|the refund comes|the money is in my account|you pay me back|I am refunded}
            how many days {pass before the refund|a refund takes|I wait for the money}
            how {long|quickly} {the refund|a refund|the money} {takes|comes}
        """),
        durations=texts("""
            {a|the|my} refund
            {getting|paying} the money back
            {the|a} repayment
        """),
        situations=texts("""
            I {returned|sent back} {my|the} <item> {last week|on Monday|yesterday}.
            You have my return.
        """),
        answers=texts("""
            {Refunds|We refund} {take|within} <days> {working |}days.
            {Your money|The refund} {is back|arrives|reaches your account} {within|in|after} <days> {working |}days.
            We pay {the money |it |you |}back within <days> {working |}days.
            We refund you within <days> days.
        """),
        values={"days": span(2, 21)},
    ),
    Topic(
        name="cancel",
        questions=texts("""
            {Can|May|How can} I {cancel|change|stop|undo} my order?
            {Until when|How long} can I {change|cancel} {my|an} order?
            I {ordered|typed|chose} the wrong {thing|address|size|colour}. {Can I change it|What can I do}?
            How {long|quickly} do I {have|need} to {cancel|call off the order}?
        """),
        nouns=texts("""
            the {time|deadline} for {cancelling|changing an order}
        """),
        clauses=texts("""
            until when I can {cancel|change} {it|my order}
        """),
        actions=texts("""
            {cancel|change|call off} {an|my} order
        """),
        answers=texts("""
            You can {cancel|change it|change or cancel} {within|for} <hours> hours{ of ordering|}.
            {Yes, within|Within} <hours> hours{ you can cancel|}{ of ordering|}.
            {Orders|It} can be {changed|cancelled} {until|up to} <time>{ the same day|}.
        """),
        values={"hours": number(1, 48), "time": clock(12, 23)},
    ),
    Topic(
        name="order_number",
        questions=texts("""
            Where {is|do I find} my {order number|invoice|receipt}?
            How do I {track|follow|trace} my {order|parcel|package}?
            Can you find my parcel?
            {I have no|I did not get a} {tracking number|confirmation}. What {now|do I do}?
        """),
        nouns=texts("""
            my {order number|invoice|tracking number}
        """),
        clauses=texts("""
            where my {invoice|order number} is
        """),
        answers=texts("""
            {Please write|Write} to <email> and {tell us your name|we will look it up}.
            {It|The number} is in the mail from <email>.
            {Send|Please send} your order number to <email>{, we will look|}.
        """),
    ),
    Topic(
        name="damaged",
        questions=texts("""
            My {parcel|<item>|order} {arrived|came} {broken|damaged|in pieces|wet|too late}.
            {The wrong thing came|Something is missing in my parcel|I got the wrong colour}. {What now|Can you help}?
        """),
        answers=texts("""
            {I am sorry|We are sorry|Sorry about that}. {Please send|Send} a photo to <email>{ within <days> days|}.
            {That should not happen|Oh no, sorry}. We {send|post} a new one {within|in} <days> days.
        """),
        values={"days": number(1, 20)},
    ),
    Topic(
        name="pickup",
        questions=texts("""
            {Can|May} I {pick|collect} {my order|it|the <item>} {up |}{in the shop|myself|at your place}?
            How long do you {keep|hold} {my order|a parcel|it} {for me|in the shop}?
        """),
        nouns=texts("""
            the time you keep {a parcel|my order} for me
        """),
        clauses=texts("""
            whether I can collect it
        """),
        offers=texts("""
            {collection|pick-up|click and collect}
        """),
        actions=texts("""
            {collect|pick up|fetch} my {order|parcel} {myself|at your place}
        """),
        answers=texts("""
            {Yes, we|We} keep {it|your order} for <days> days.
            {Yes, you|You} can {pick it up|collect it} {after|within} <days> days.
        """),
        values={"days": number(1, 30)},
    ),
)
