"""What customers ask about reaching the shop: by e-mail, by phone, in person."""

from corpus.draws import WEEKDAYS, clock, number, one_of, phone, street, weekdays
from corpus.topic import Topic, texts

CONTACT = (
    Topic(
        name="email",
        weight=3,
        questions=texts("""
            {How|Where} can I {reach|contact|write to} {you|your team|somebody|support|customer service}{| by e-mail|
                online| in writing}?
            {Which|What|To which|To what} {address|e-mail|mailbox|e-mail address|mail address} do I {write
                to|use|send it to|mail|take}{| for questions| for support}?
            {Can|Could} I {have|get} {an e-mail address|your e-mail|an address to write to|the mail address of
                support}?
            I {would like|want|need} to {write to you|send a message|mail a photo|complain|write to <someone>|send
                you an e-mail}. {Where to|What address|Which e-mail|Which address do I use|To what address|Where do I
                write}?
            Where {do|should|can|must} I {send|mail|address|direct} {a complaint|my question|photos|a message|an
                e-mail|my message|<problem>}?
            {Do you have|Is there} an {e-mail address|e-mail|address|mailbox} {for questions|for support|for
                customers|I can write to|to write to|that I can use|}?
            How do I {get in touch|contact you|reach customer service|reach support|message you} {by e-mail|online|in
                writing|by mail|}?
            {Who|Whom} {do|should|can} I {e-mail|write to|mail} {about|with|for} {<problem>|a faulty <item>|an
                order|my order}?
            I have <problem>. {Where do I write|To which address do I send it|Where can I write to|What is your
                e-mail|Who can I write to}?
            Where should {my question|a complaint|a photo|my message|my letter} go{| if I want to write}?
            I {do not like|hate} phoning. {Can I write|Where can I write|Is there an e-mail}?
        """),
        nouns=texts("""
            {your|the} {e-mail address|e-mail|mail address|address for messages|e-mail of support|contact
                address|mailbox}
            the {right |}address for {an e-mail|questions|a message|complaints|photos}
        """),
        clauses=texts("""
            {where|to what address} I can {write|send my message|send a mail|send an e-mail|send a photo}
            {which|what} {e-mail|address} {I should use|I can write to|you have}
            how I can {reach|contact} you online
        """),
        offers=texts("""
            an {e-mail address|address to write to|e-mail}
            your {e-mail|e-mail address}
            a mailbox for questions
        """),
        actions=texts("""
            {write to you|send you a message|mail you|send you a photo|write an e-mail}
        """),
        answers=texts("""
            {You can |Please |Just |}{write|send a mail|mail us} {to|at} <email>.
            Our {e-mail |}address is <email>.
            {You reach us|We can be reached} at <email>.
            {Send|Please send} {it|your message|your question} to <email>.
        """),
    ),
    Topic(
        name="phone",
        weight=3,
        questions=texts("""
            {What is|What's|Can I have|Give me} your {phone|telephone} number?
            {Can|May|Could} I {call|ring|phone|telephone} {you|<someone>|the <store>}{ somewhere|}?
            {Which|What|Under which|Under what|On which} number {do I|can I|should I|must I} {call|dial|ring|reach
                you|phone|use to call}?
            Is there a {hotline|phone line|number I can call|telephone|number to call}{| for questions| for help}?
            I would {rather|prefer to} {talk to <someone>|speak to <someone>|call}. {How|What number|Which
                number|What do I dial}?
            How {do|can|could} I {reach|get} {you|<someone>} {by phone|by telephone|on the phone|on the line}?
            {Can|Could|May} I {talk|speak} to <someone>{| on the phone| by phone}? {What is the number|Which number
                is it|}?
            I want to {talk|speak} to <someone>. {What number do I call|Which number is it|Who can I call|What is the
                number}?
            What {do I|must I|should I} dial to {talk|speak} to <someone>?
            I {would like|want|need} to {call|ring|phone} {you|<someone>|your team}. {What is the number|Which
                number|How}?
            Can <someone> help me {on|over} the phone?
            I do not like {writing|e-mails|mails}. {Can I call|Is there a number|May I ring somebody}?
            {Does|Do} {your shop|you|<shop>} have a {telephone|phone|phone number|phone line}?
        """),
        nouns=texts("""
            {your|the} {phone number|telephone number|number of the hotline|number to call|number of your shop}
        """),
        clauses=texts("""
            {which|what} number I {should|can|must} {call|dial|ring}
            how I can {talk|speak} to <someone>
            how I {can reach|reach} you by {phone|telephone}
            under {which|what} number {you can be reached|I can call}
        """),
        offers=texts("""
            a {hotline|phone line|phone number|telephone number|number to call}
            your {phone|telephone} number
        """),
        actions=texts("""
            {call|ring|phone} {you|<someone>}
            {talk|speak} to <someone>
        """),
        answers=texts("""
            {You can |Please |}{call|ring} {us |}{on|at} <phone>.
            Our {phone |telephone |}number is <phone>.
            {The|Our} {hotline|phone line} is <phone>.
            {Please ring|Ring} <phone>.
        """),
        values={"phone": phone},
    ),
    Topic(
        name="opening_hours",
        weight=3,
        questions=texts("""
            When {are you|is the <store>|is your <store>} open{| to visitors| for customers| in the week}?
            What are {your|the} {opening hours|hours|opening times|shop hours|business hours}?
            {Until when|How late|How long|Until what time} {are you|is the <store>|is your <store>} open{ today| in
                the evening|}?
            {What time|When|At what time|At what hour} do you {open|close|shut|open in the morning|close in the
                evening}?
            {What time|When|At what time|At which hour} does {the|your} <store> {open|close|shut}{| in the morning|
                at night}?
            {When can I|At what times can I|At which hours can I|What time can I} {come by|visit|drop in|pick it
                up|come|come to the <store>|visit the <store>|come and see you|buy a <item> in person}?
            Are you open {on Saturday|in the evening|at weekends|tomorrow|this afternoon|at noon|on <day>|early in
                the morning}?
            {Is|Will} the <store> {be |}open {on <day>|in the evening|tomorrow|this afternoon|on weekends|after
                work|early}?
            From when {to when |}{can people come in|is somebody there|are you there|is the <store> open}?
            {Can|Could|May} I {visit|come by|drop in|come} {on <day>|in the evening|tomorrow|after work|in the
                morning}?
            {In|During} which hours {can people visit you|are you there|is the <store> open|can I visit}?
            On {which|what} days {and hours |}{are you open|can I visit|is the <store> open|can I come}?
            I want to {drop in|visit you|come by|stop by} {after work|tomorrow|on <day>|this week}. {When do you
                shut|When are you open|What are the hours|Until when are you there}?
            What {hours|times|opening hours} does {the|your} <store> {have|keep}?
            {From|Since} what time {can I come|are you there|can I visit the <store>|is somebody there}?
        """),
        nouns=texts("""
            {your|the} {opening hours|opening times|hours|hours of the shop|hours of your store|business hours}
            the {hours|times} {in|at} which {you are open|I can visit|I can come}
        """),
        clauses=texts("""
            when {you are open|the <store> is open|I can visit you|I can come|you close|you open}
            in which hours {I can visit|you are open}
            {until|from} what time {you are open|the <store> is open}
            whether you are open {on <day>|tomorrow|in the evening}
        """),
        answers=texts("""
            We are open {<weekdays>, |}{from |}<opens> to <closes>{ <weekdays>|}.
            {The shop|Our shop} is open <weekdays> from <opens> to <closes>.
            {The shop|Our shop} is open from <opens> to <closes>, <weekdays>.
            <weekdays>, <opens> to <closes>.
            {You can come|Come by} <weekdays> between <opens> and <closes>.
        """),
        values={"weekdays": weekdays, "opens": clock(7, 12), "closes": clock(15, 21), "day": one_of(*WEEKDAYS)},
    ),
    Topic(
        name="closed_day",
        questions=texts("""
            {Which|What} day are you closed?
            {Is there|Do you have} a day {off|when you are closed}?
            On which day {should I not come|is the shop shut}?
        """),
        nouns=texts("""
            the day {you are closed|on which you are shut}
        """),
        clauses=texts("""
            on which day you are closed
        """),
        answers=texts("""
            We are closed on <day>s.
            {The shop|Our shop} is {closed|shut} {every|on} <day>.
            On <day>s {we are closed|we stay closed|nobody is here}.
        """),
        values={"day": one_of(*WEEKDAYS)},
    ),
    Topic(
        name="address",
        questions=texts("""
            {What|Which} street {are you in|is your shop in|is it}?
            What is {your|the shop's} {postal address|street address|street and number}?
            {How do I get|Which street must I go} to {your shop|you|your store}?
            I want to {visit you|come by|see the shop}. {Which street is it|Where do I have to go|What is the street}?
        """),
        nouns=texts("""
            the street address of {the shop|your store|the workshop}
            {your|the} street
        """),
        clauses=texts("""
            in which street {the shop|your store} is
        """),
        answers=texts("""
            {You find us|We are|Our shop is} at <house> <street> {Street|Lane|Road} in <town>.
            {Our address is|Come to} <house> <street> {Street|Lane}, <town>.
        """),
        values={"house": number(1, 150), "street": street},
    ),
)
