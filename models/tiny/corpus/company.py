"""What customers ask about the company itself: where it is, how old, who is behind it."""

from corpus.draws import MONTHS, PET_NAMES, WEEKDAYS, clock, money, number, one_of, person
from corpus.topic import Topic, texts

COMPANY = (
    Topic(
        name="town",
        weight=4,
        questions=texts("""
            Where {are you|is your company|is the <store>|is <shop>|are you people} {from|based|at home|located}?
            {In which|Which|What|In what} {town|city|place|village} {are you in|is your workshop in|do you work
                in|are you from|are you based in|is <shop> based in|is it}?
            Where {do you make|are|do you build|do you produce|does <shop> make} your
                {<item>s|<item>|things|products} {made|built|produced|}?
            {Where did|In what town did|In which place did|In what place did} {it all begin|you start|the shop
                start|the <company> begin|you open the <store>|<shop> get started}?
            Where {was|is} {the <company>|your firm|<shop>} {founded|located|started|set up}?
            Where do {you|your things|your products|your <item>s|the <item>s} come from?
            {From|Out of} {which|what} {town|city|place|region} {do you come|do your <item>s come|is <shop>|do you
                ship}?
            {In|From} {which|what} {town|city|place} {are|is} {the|your} <item>s{|} {made|built|produced|put
                together}?
            {What|Which} {town|city|place} {is|are} {the|your} <item>s {made in|built in|from}?
            Are your <item>s made {abroad|here|locally|in your town|far away|in this country}? {Where exactly|In
                which town|}?
            {Where|In which town} {is|can I find|would I find} {your workshop|the people who make the <item>|your
                factory|the makers of the <item>}?
            What is {your|the} town {called|'s name}?
            What is the {town|place|city} {of your workshop|you work in|where you make the <item>} called?
            {Which|What} {town|city} {does|do} {<shop>|you|your team|the <item>s} {call home|live in|work in}?
            In {which|what} {town|city|place} {does|do} {<shop>|you} {make|build|produce|craft} {its|the|your}
                {<item>s|things|products}?
        """),
        nouns=texts("""
            the name of {the|your} {town|city|home town}
            your {home town|home|location}
            the {town|city|place} {you work in|you are from|where the <item> is made|of your workshop|where you make
                things|in which you work|in which <shop> makes things|where <shop> is at home}
            the name of the {town|city|place} {where|in which} {you work|you make the <item>s|<shop> is|you are}
        """),
        clauses=texts("""
            in {which|what} {town|city|place} {you are|it is made|<shop> makes things|<shop> works|you make the
                <item>}
            where {your workshop is|<shop> is from|you are from|you are based|the <item>s are made|you make your
                <item>s}
            where {it all began|you started|<shop> was founded}
        """),
        answers=texts("""
            {We are|Our shop is|Our workshop is} {based |at home |}in <town>.
            {We|It all|The shop} {started|began} in <town>.
            {Everything is|Our things are|We were|All our <item>s are} {made|founded|born} in <town>.
            {We come|Our team comes} from <town>.
            We were founded in <town>{ and still make everything there|}.
        """),
    ),
    Topic(
        name="founded",
        weight=4,
        questions=texts("""
            {When|What year|In which year|In what year|Which year} {were you|was the <company>|was <shop>|was your
                workshop} {founded|started|set up|opened|established|created|born}?
            How old is {your shop|your company|<shop>|the business|the firm|the workshop}?
            {Since when|How long|How many years} {do you exist|have you been around|have you been in business|is
                there <shop>|has <shop> been around|have you been making <item>s|does <shop> exist|have you existed}?
            When did {you|<shop>|it all|the <company>|your shop} {start|begin|open|first open|begin its work}?
            {In which|In what|What|Which} year did {you|<shop>|it all|the <company>} {start|begin|open|come into
                being|first sell a <item>}?
            {Is|Are} {<shop>|you|your shop} {an old|a young|a new} {company|shop|firm|business}?
            When {was your first|was the first|did you make the first|did you sell the first} <item> {made|sold|}?
            {Which|What} year {was|is} {it when|the one when|the year when} {<shop>|you|the <company>}
                {started|began|opened}?
            {From|Since} {which|what} year {does|do|has} {<shop>|you|the shop} {exist|been open|been there}?
            {What|Which} year {stands|is} {over your door|on your sign|in your logo}?
        """),
        nouns=texts("""
            the {founding year|year of the foundation|age of the shop|year of your foundation|founding date|year
                <shop> began}
            the year {in which|when} {you were founded|<shop> started|the <company> began|you opened}
            your {founding year|age|first year}
        """),
        clauses=texts("""
            in {what|which} year {you were founded|your workshop was founded|<shop> began|<shop> opened|you started}
            how old {you are|<shop> is|the <company> is}
            when {you|<shop>|the <company>} {began|started|was founded|opened}
            how long {you have been around|<shop> has existed|the shop has been open}
        """),
        answers=texts("""
            {We|<shop>} {started|began|opened} in <year>.
            {We were|<shop> was} founded in <year>.
            {We have been around|The shop exists|The workshop exists} since <year>.
        """),
        values={"year": number(1870, 2022)},
    ),
    Topic(
        name="founder",
        weight=4,
        questions=texts("""
            Who {founded|started|set up|began|created|opened|established|built up} {the <company>|<shop>|your
                <company>|it all|all this}?
            Who {is|was} {the owner|the founder|your founder|behind <shop>|the boss|behind the <company>|behind your
                <item>s|the person behind it|the first owner|the head}?
            {Whose|Who had the} idea {was it|was the shop|was <shop>|for the shop|for <shop>}?
            Who {owns|runs|leads} {the shop|<shop>|this|the <company>}?
            {Tell|Can you tell} me who {started it all|is behind this|the founder is|founded <shop>}{.|?}
            {Which|What} person {founded|started|began|set up|is behind} {the <company>|<shop>|it}?
            Who made {the|your} first <item>?
            {By whom|From whom} was {<shop>|the <company>|the workshop} {founded|started|set up}?
            Who {do we|can I|must I} thank for {<shop>|the shop|your <item>s}?
            {Who are the people|Who is the person|Who is the man|Who is the woman|Who is the one} {behind|who
                started|who founded} {<shop>|the shop|it all}?
            {I would like to know|Do you know} who {began all this|founded the <company>|had the idea|set it up}?
        """),
        nouns=texts("""
            the name of {the|your} {founder|owner|boss}
            {your|the} founder
            the name of the {person|man|woman|one} who {started|founded|set up|opened|began|created} {<shop>|the
                <company>|it all}
            the {person|one|mind} {behind|who started} {<shop>|your <item>s|the <company>}
        """),
        clauses=texts("""
            who {started|founded|set up|opened|created} {<shop>|the <company>|the shop|it all}
            who {is behind|had the idea for|runs|owns} {<shop>|the shop}
            who {the|your} founder {is|was}
        """),
        answers=texts("""
            {The shop|<shop>|It} was {founded|started|set up} by <person>.
            <person> {founded|started|set up|opened} {the shop|<shop>|the workshop}.
            {Our founder|The person behind it} is <person>.
        """),
        values={"person": person},
    ),
    Topic(
        name="staff",
        questions=texts("""
            How many {people|staff|hands} {work for you|do you have|work at <shop>|are you}?
            How {big|large} is your {team|company|workshop}?
            Are you a {big|small|large} {company|team|business}?
        """),
        nouns=texts("""
            the size of your team
            the number of people {in your team|at <shop>}
        """),
        clauses=texts("""
            how many people work {for you|there}
        """),
        answers=texts("""
            We are {a team of |}<count> people.
            <count> people work {here|for us|at <shop>}.
            Our team has <count> people.
        """),
        values={"count": number(2, 80)},
    ),
    Topic(
        name="pet",
        weight=4,
        questions=texts("""
            {What is the name of|Who is|What's the name of} {your|the|the shop|the workshop|the office}
                {dog|dog|cat|pet|animal}?
            {What|How} {is|do you call} {your|the|the shop|the workshop} {dog|dog|cat|pet} {called|}?
            {Do you have|Is there|Have you got} {a|any} {dog|dog|cat|pet|animal|mascot} {in the <store>|with you|at
                <shop>|in the office|}?
            {I saw|There was|I met|There is|I noticed|I spotted} a {dog|dog|cat} {on your page|in a photo|in your
                <store>|on your website|in the video|at the counter|by the door|behind the counter|in the picture}.
                {What is its name|Who is that|What is it called|How is it called|What name does it have|Whose is
                it|Is it yours}?
            Who is the {furry one|four-legged colleague|mascot|furry friend|four-legged one|animal in the photo|dog
                on your page|cat in the window|dog in the video|furry colleague}?
            {What|Which} name {does|did you give|has} {your|the|the shop} {dog|dog|cat} {have|got|}?
            {Tell me|Please tell me} {about|the name of} {your|the} {dog|dog|cat|pet}.
            Who {sleeps|lies|sits|barks|purrs} {under the counter|in the basket|by the door|on the sofa|in your
                shop|in the window}?
            Is the {dog|dog|cat} {in the picture|on your website|in the shop} yours? {What is its name|What is it
                called|}?
            Does {<shop>|the <store>|your team} have {a|an office|a house} {dog|dog|cat|pet}?
            Your {dog|dog|cat} is {so cute|lovely|sweet|very big|friendly}. {What is it called|What is its name|Who
                is it}?
            How do you {call|name} {your|the} {dog|dog|cat|pet}?
            What do you {call|shout|say} when {the|your} {dog|dog|cat} {should come|runs away|is to come}?
        """),
        nouns=texts("""
            the name of {the|your} {dog|dog|cat|pet|animal|shop dog|shop cat|mascot|workshop dog|office dog}
            {your|the} {dog|dog|cat|pet}'s name
            the {dog|dog|cat} {in your shop|on your page|at the counter|in the photo}
        """),
        clauses=texts("""
            what {name|names} {the dog|the cat|your dog|the pet} has
            what {the dog|your cat|the dog at the counter|your dog|the shop dog|the animal} is called
            who the {dog|cat|furry one} {in the photo|on your page|in your shop} is
            how you call {the|your} {dog|dog|cat}
        """),
        offers=texts("""
            a {dog|dog|cat|pet|shop dog|mascot|workshop dog}
        """),
        answers=texts("""
            {That is|It is|Our {dog|dog|cat} is} {called |}<pet>.
            {Our|The} {shop |workshop |}{dog|dog|cat} is {called|named} <pet>.
            {Yes, <pet>|<pet>} {keeps us company|sleeps under the counter|is our {dog|dog|cat}}.
            {Yes, our|Our} {dog|dog|cat} <pet> {sleeps under the counter|keeps us company|is always here}.
            That is <pet>, our {dog|dog|cat}.
        """),
        values={"pet": one_of(*PET_NAMES)},
    ),
    Topic(
        name="workshop_tour",
        questions=texts("""
            {Can|May} I {see|look at} the workshop{| from inside}?
            {Do you offer|Are there|When are the} {tours|guided tours|courses|classes}?
            {When|On which day} is the next {tour|course|open day}?
            What does a {course|class|tour} cost?
        """),
        nouns=texts("""
            the {day|price} of the {tour|course|class}
        """),
        clauses=texts("""
            when the {tour|course} is
        """),
        answers=texts("""
            {Yes, there|There} is a {tour|course|class} {every|on} <day> at <time>{ for <price>|}.
            {We show people around|Tours are|Our class is} on <day>s at <time>.
        """),
        values={"day": one_of(*WEEKDAYS), "time": clock(9, 19), "price": money(4, 60)},
    ),
    Topic(
        name="holidays",
        questions=texts("""
            {When|In which month} {are you on holiday|do you close for the holidays|is the summer break}?
            {Are you open|Do you work} {over the holidays|at Christmas|in <month>}?
            {Do you have|Is there} a {summer|winter} break?
        """),
        nouns=texts("""
            the month of your {holidays|break}
        """),
        clauses=texts("""
            when you are on holiday
        """),
        answers=texts("""
            We {are on holiday|take a break|are closed} in <month>.
            {The shop|Everybody here} {rests|is closed|has a break} {in|all of|from the 1st to the 15th of} <month>.
        """),
        values={"month": one_of(*MONTHS)},
    ),
    Topic(
        name="donation",
        questions=texts("""
            {Do you|Does <shop>} {give to charity|support a good cause|donate something}?
            {How much|What} {of my money|do you} {give|goes} to {charity|good causes}?
        """),
        nouns=texts("""
            the amount you {give|donate}
        """),
        clauses=texts("""
            how much you {give|donate} to charity
        """),
        answers=texts("""
            We {give|donate} <percent> percent of {every sale|what we earn} to {a school|the library|a hospital}.
            {From|For} every <item> we {give|donate} <price>.
        """),
        values={"percent": number(1, 20), "price": money(1, 9)},
    ),
    Topic(
        name="jobs",
        questions=texts("""
            {Are you hiring|Do you have jobs|Is there a job for me|Can I work for you}?
            {I would like|I want} to work {for|with} {you|<shop>}. {Who do I ask|Where do I apply}?
        """),
        answers=texts("""
            {Please write|Write} to <person> at <email>.
            We {are looking for|need} <count> people{, please write to <email>|}.
        """),
        values={"person": person, "count": number(1, 6)},
    ),
    Topic(
        name="shop_name",
        questions=texts("""
            {Who|What} are you?
            {What kind of|What sort of} shop is this?
            What do you {sell|make|do}?
            {Tell me|Can you tell me} {something |}about {yourself|your shop|<shop>}{.|?}
        """),
        nouns=texts("""
            the name of your shop
        """),
        clauses=texts("""
            what you {sell|make}
        """),
        answers=texts("""
            {We are|I answer for|This is} <shop>, a <kind> in <town>.
            <shop> is a <kind>{ in <town>|}. We {make|sell} the <item>{ and more|}.
        """),
    ),
)
