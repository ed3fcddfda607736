"""What customers ask about a product in figures: price, weight, battery, size, water, warranty."""

from corpus.draws import money, number, two_sizes, water_rating
from corpus.topic import Topic, texts

FIGURES = (
    Topic(
        name="item_price",
        weight=4,
        questions=texts("""
            How much is the <item>?
            What does {the|a|your|one|this} <item> cost?
            What do you {ask|charge|want} for {a|the} <item>?
            {I want to buy|I am interested in|I would like to buy|I would love|I need|I am looking for|I would like}
                {the|a} <item>. {How much is it|What is the price|What would I pay|What does it cost|How much is
                yours|What do you ask}?
            How much do I {pay|have to pay|spend} for {one|a|the} <item>?
            {What|How much} do you sell {the|a|your} <item> for?
            What is {the|a|your} <item> {sold for|sold at|going for|priced at}?
            The <item> {looks nice|is pretty|looks good}. {What is it sold at|How much is it|What is the price}?
            How many euros is {a|the|one} <item>?
            What {price|price tag} does the <item> have?
            How much money {is|would be|do you want for|do I need for} {a|the|one} <item>?
            For {what|how much} {can I have|would I get|could I buy|do you sell} {a|the|one} <item>?
        """),
        nouns=texts("""
            the {price|cost|selling price} of {the|a|one} <item>
            {your|the} price for {a|the} <item>
        """),
        clauses=texts("""
            {what|how much} {the|a|one} <item> {costs|is sold for|would cost me|is}
            what you {sell|want for} the <item>
            how {expensive|much} {the|a} <item> is
        """),
        prices=texts("""
            {the|a|one|your|the new|a new} <item>
            the <item>
            {the|a} <item>
        """),
        answers=texts("""
            The <item> costs <price>.
            {It|The <item>} is <price>.
            {You pay|We ask} <price> for the <item>.
            The price {of the <item> |}is <price>.
        """),
        values={"price": money(5, 300)},
    ),
    Topic(
        name="weight",
        weight=3,
        questions=texts("""
            How heavy is <obj>?
            {What|How much} does <obj> weigh{| exactly| in grams| roughly| on the scales}?
            How {many grams|much} {does|will|would} <obj> weigh?
            Is <obj> {light|heavy|a heavy one|a light one|lightweight|heavy to carry|too heavy}{|for a child|for me}?
            How {many grams|much weight} does <obj> {add|have|bring|put} {to my bag|to my bike|on the scales|in all|}?
            I count every gram. {What does the <item> weigh|How heavy is the <item>|What is the weight}?
            {Do I|Will I} feel the weight of <obj>{| in my bag| on my back}?
            Is <obj> light enough {to carry|for a trip|for racing|for my bag|for a child}?
            How much {heavier|weight} {will my bag be|do I carry} with <obj>?
            What {do the scales|does a scale} say {for|about} <obj>?
        """),
        nouns=texts("""
            the weight of <obj>
            {its|the} weight in grams
            the {exact |}weight
            the grams of <obj>
        """),
        clauses=texts("""
            {what|how much} <obj> weighs
            how heavy {<obj>|it} is
            how many grams <obj> {has|weighs}
        """),
        situations=texts("""
            I {have to carry it|travel light|count every gram}.
            I must carry it {all day|in my bag}.
        """),
        answers=texts("""
            {It|The <item>} weighs <grams> grams.
            {The weight is|It is} {just |only |}<grams> grams.
            {At|With} <grams> grams {it|the <item>} is {quite light|easy to carry}.
            {The <item>|It} {weighs just|is only} <grams> grams.
        """),
        values={"grams": number(12, 900)},
    ),
    Topic(
        name="battery_life",
        weight=3,
        questions=texts("""
            How long {does|will} the {battery|charge|battery of the <item>} {last|hold|keep|run|do}?
            How many hours {does it run|does the <item> run|do I get|can I use the <item>|does the <item> last|will
                it go|of use do I get|of work does it do} {on|with|from} {one|a|a full} {charge|battery}?
            When {is the battery|does the battery go|will the battery be} {empty|flat|dead}?
            {How soon|How often|When} {does it|will it|must I|do I have to} {run out|need charging|charge it|recharge
                it}?
            {Does|Will} {it|the <item>} last {a whole night|all day|a weekend|all night|a long trip} {without
                charging|on one charge|on a charge}?
            How {long|many hours} can I {use|run|ride with|work with|walk with|enjoy} <obj> {on|with} {a full
                battery|one charge|a charge}?
            How long {does|will} <obj> {run|work|go|shine|stay on|keep going} {before it needs charging|on one
                charge|with a full battery|until it is empty}?
            How {many hours|long} {until|before} the battery {is empty|goes flat|dies|runs out|is flat}?
            Is {one charge|a full battery} enough for {a weekend|a night|a day out|two days|a long trip}?
            {Does|Will} the battery {hold|last} {long|for hours|all night|the whole day}?
            {For|Over} how many hours does {the <item>|it|the battery} {shine|run|work|hold|last|go}?
            {One|A full} charge {gives|means} how many hours?
        """),
        nouns=texts("""
            the {battery life|running time|run time|battery time} {of <obj>|}
            the hours {per|on one} charge
            the {life|stamina|duration} of {the|one} {battery|charge}
        """),
        clauses=texts("""
            how {long|many hours} {the battery holds|the battery of <obj> lasts|it runs|one charge lasts|<obj> runs}
            when the battery {is empty|goes flat|runs out}
        """),
        answers=texts("""
            The {battery|<item>} {lasts|runs|keeps going} {for |}<hours> hours{ on one charge|}.
            {One|A full} {charge|battery} {lasts|gives you} <hours> hours.
            It {runs|lasts|works} {for |}<hours> hours {per charge|before it needs charging|on a full battery}.
            The battery of the <item> lasts <hours> hours.
        """),
        values={"hours": number(4, 96)},
    ),
    Topic(
        name="charging_time",
        weight=3,
        questions=texts("""
            How long does {charging|a full charge|it take to charge} {take|}?
            How long {must|does|should|do} {I|the <item>|it} {charge|stay plugged in|be plugged in|hang on the
                cable|sit on the charger}?
            When is {it|the battery|the <item>} {full|fully charged|charged|ready}{ again|}?
            {How fast|How quickly} {does|can|will} {it|the <item>|the battery} {charge|fill up|be charged}?
            How {many minutes|much time} {does|until|is} {charging|a full charge|the battery} {take|need|is
                full|needed}?
            How {many minutes|long} {until|before} {the battery|it|<obj>} is {full|charged|fully charged|ready again}?
            The battery is {empty|flat|dead}. How long {until it is full again|does it take to charge|must it charge}?
            {How long|How many minutes} {do|must|should} I leave {it|the <item>} on the {cable|charger|plug}?
            Does {it|the <item>|the battery} charge {quickly|fast|in an hour|over lunch|overnight}?
            I {plugged|have plugged} {it|the <item>} in. When {is it ready|is it charged|can I take it off}?
            Can I charge it {over lunch|during a break|quickly}? How long does {it need|that take}?
        """),
        nouns=texts("""
            the charging time
            the time {to charge|on the cable|for a full charge|on the charger}
        """),
        clauses=texts("""
            how {long|many minutes} {it charges|it has to be on the cable|charging takes}
            when it is {charged|full}
        """),
        durations=texts("""
            charging
            a full charge
            {filling|charging} the battery
            charging {<obj>|it}
        """),
        situations=texts("""
            The battery is {empty|flat}.
            I {only have|have} a short break.
        """),
        answers=texts("""
            {Charging|A full charge} takes <minutes> minutes.
            {It|The <item>|The battery} is {full|fully charged} {after|in} <minutes> minutes.
            It {needs|takes} <minutes> minutes {to charge|on the cable|until it is full}.
        """),
        values={"minutes": number(20, 300, 5)},
    ),
    Topic(
        name="size",
        weight=3,
        questions=texts("""
            {How big|How large|How wide|How thick|How long} {is|may be|can be} {the <item>|my <item>|the pole|the
                bar}?
            What {size|dimensions} does the <item> have?
            {What|Which} {sizes|diameters|widths|diameter|size} does {it|the <item>|the mount|the holder|the
                clamp|the bracket} {fit|take|hold|suit|go on|need}{ on|}?
            Does {it|the <item>|the mount|the holder|the clamp|the bracket} {fit|go on|suit|hold on}
                {my|a|every|any|a thick|a thin|a wide}
                {pocket|bag|shelf|pole|table|bar|handlebar|frame|tube|wall|bike}?
            {Can|Could} you give me the {measurements|dimensions|size}{ of the <item>|}?
            My {bar|pole|shelf|handlebar|tube|table|frame} is {30 mm|5 cm|very thin|rather thick|quite wide|40
                mm|narrow}. {Does it fit|Will the <item> fit|Does the <item> go on|Can I use it|Will it hold}?
            On {what|which} {sizes|diameters|bars|poles|handlebars|tubes} {can|does} {I use it|it fit|the mount go|I
                mount it}?
            {How thick|How wide|How thin} {may|can|must} my {bar|handlebar|pole|tube|shelf} be?
            What is the {largest|smallest|widest|thickest|biggest} {size|bar|diameter|pole|handlebar} for the
                {<item>|mount}?
            Is the {mount|bracket|holder|clamp} {wide|big|large} enough for my {bar|handlebar|bike|pole|frame}?
            For {which|what} {bars|handlebars|poles|frames|sizes} {is it made|can it be used|does it work}?
            Will it {fit|hold|go} on a {carbon|thick|thin|steel|wooden} {bar|handlebar|pole|frame}?
        """),
        nouns=texts("""
            the {size|diameter|measurements} of {the <item>|the mount}
            the {diameter|sizes} it {fits|can be used on}
        """),
        clauses=texts("""
            what {size|diameter|sizes} it {has|fits|can be used on|takes}
            how thick my {bar|handlebar|pole} may be
        """),
        answers=texts("""
            {It|The <item>|The mount} {fits|is made for|suits|goes on} {|bars of |handlebars of |poles of }<sizes>.
            {The <item>|It} measures <sizes>.
            It {works with|goes with|fits} {anything from |every bar from |every size from |}<sizes>.
        """),
        values={"sizes": two_sizes},
    ),
    Topic(
        name="brightness",
        weight=3,
        questions=texts("""
            How {bright|strong|powerful|luminous} {is|gets|will be} <obj>?
            How many {lumens|watts} {does <obj> {have|give|make|reach|put out|produce}|are there}?
            {What is|Tell me} the {power|brightness|output} of <obj>{.|?}
            Is <obj> {bright|strong|powerful} enough {for the dark|outdoors|for the forest|at night|for a dark
                road|for me|to read}?
            How much {light|brightness|power} {does <obj> {give|make|have|produce|put out}|can I expect|do I get}?
            {Can|Will|Do} I {see|find my way|see well} {with <obj>|} {at night|in the dark|on a dark road|in the
                forest}{| with it}?
            What {brightness|number of lumens|output|power} {does <obj> {reach|have|give|get}|can I expect|do I get}?
            {Lumens|Brightness|Watts} of <obj>?
            How far {does|will} <obj> {shine|light the way}? How bright is it?
            {Will|Is} the {beam|light} {be |}{bright|strong} enough?
        """),
        nouns=texts("""
            the {brightness|output|number of lumens|power|lumens|light output} of <obj>
        """),
        clauses=texts("""
            how {bright|strong|powerful} {<obj>|it} is
            how many lumens {it|<obj>} {makes|has|gives}
        """),
        situations=texts("""
            It is {very |}dark {here|where I live|on my way home}.
        """),
        answers=texts("""
            {It|The <item>} {gives|has|reaches|makes} <amount> {lumens|lumens|watts}.
            {The <item>|It} {shines|works} {at|with} <amount> {lumens|lumens|watts}.
        """),
        values={"amount": number(20, 1500, 10)},
    ),
    Topic(
        name="waterproof",
        weight=3,
        questions=texts("""
            {Is|Are} {<obj>|your things|your <item>s}
                {waterproof|water-resistant|rainproof|sealed|watertight|protected from rain|safe in the rain|okay
                with rain|weatherproof}?
            {Can|May|Could} <obj> {get wet|stand rain|be used in the rain|go under water|stay out in the rain|take
                water}?
            {Does|Will|Would} {rain|water|a shower|heavy rain|a storm|wet weather|snow}
                {hurt|harm|damage|break|ruin|kill} <obj>?
            What {protection class|water rating|rating|protection} {does|do} {<obj>|your <item>s} have{| against
                water| against rain}?
            It rains {a lot|often|all the time} here. {Is that a problem|Will the <item> survive|Is it safe|Does that
                matter}?
            {Can|May} I {use|leave|take|wear|keep} <obj> {in the rain|out in a storm|in wet weather|outside when it
                rains|in a shower}?
            {Will|Does} <obj> {survive|stand|take|withstand|bear|resist} {rain|a heavy shower|a storm|water|the
                wet|bad weather}?
            How {well|good} {is|are} <obj> {protected|sealed} {from|against} {water|rain|wet weather}?
            Do I have to {take it off|bring it in|cover it|hide it} when it {rains|is wet|pours}?
            Is {rain|water|wet weather|snow|a storm} {a problem|bad|dangerous|an issue|okay|harmful} for <obj>?
            What happens {if|when} <obj> gets {wet|rained on|caught in the rain}?
            How waterproof {is|are} {<obj>|they}{|, and how is it rated|, and what is the rating}?
            {Is it ok|Is it okay|Is it fine} to {use|leave|ride with|walk with} <obj> in {the rain|wet weather|a
                storm}?
        """),
        nouns=texts("""
            the {water rating|protection class|rating against rain|protection against water|IP rating} of <obj>
            the water rating
        """),
        clauses=texts("""
            how waterproof {<obj>|it} is
            whether {it|<obj>} is waterproof
            whether {it|<obj>} can {get wet|stand rain}
            which rating {<obj>|it} has against {water|rain}
            how well it is protected from {rain|water}
        """),
        situations=texts("""
            It {rains a lot|is always wet} {here|where I live}.
            I {go out|am outside} in all weathers.
        """),
        answers=texts("""
            {Yes, it|It|The <item>} is {rated|sealed to|protected to} <rating>.
            {Yes, |}{it|the <item>} has {a rating of |the rating |}<rating>{, so rain is fine|}.
            {Yes, our things|Yes, they|They} are {rated|sealed to} <rating>{, so rain is fine|}.
        """),
        values={"rating": water_rating},
    ),
    Topic(
        name="warranty",
        weight=3,
        questions=texts("""
            How long is the {warranty|guarantee}{ on <obj>|}?
            {Is there|Do I get|Do you give|Is there any} a {warranty|guarantee}{| on <obj>| on your <item>s}?
            How many years of {warranty|guarantee|cover} {do I get|are there|come with it|do you give|are on <obj>}?
            {My|The|Our} <item> <broken> after {a|one|two|three|four} year{s|}. {Is it still covered|Am I covered|Is
                it under guarantee|Is there still a warranty|Do I get a new one}?
            For how {long|many years} {are|is} {your things|<obj>} {guaranteed|covered|under warranty|under
                guarantee|insured}?
            What {happens if|if} <obj> {breaks|fails|stops working|dies} {after a while|next year|in a few years|in
                two years}?
            {Until when|How long} {does the warranty run|does the guarantee last|am I covered|is it covered|is it
                guaranteed}?
            If <obj> {breaks|fails|dies|stops working} {next year|in two years|some day|after three years}, {do I get
                a new one|is it covered|is that under guarantee|who pays}?
            How {long|many years} {do|will} you {stand by|vouch for|guarantee|cover|back} {<obj>|your work|your
                things}?
            Am I still {under warranty|covered|under guarantee} after {two|three|five} years?
            {Is|Are} {two|three} years all the {warranty|guarantee} there is?
            What {guarantee|warranty} comes with <obj>?
            How long {should|must|will} <obj> {last|work|hold}, and how long {is it guaranteed|do you guarantee it}?
            For how {long|many years} {do|can} you {promise|ensure} that <obj> {lasts|holds|runs}?
        """),
        nouns=texts("""
            the {warranty|guarantee|length of the guarantee|warranty period|length of the warranty} {|on <obj>|for
                <obj>}
            the {years|time} of {warranty|guarantee}
        """),
        clauses=texts("""
            how {long|many years} {it is under guarantee|the warranty lasts|it is covered|the guarantee is}
            for how many years {it is guaranteed|<obj> is covered|you give a guarantee}
            whether {<obj>|it} is {still |}{covered|under guarantee|guaranteed}
        """),
        offers=texts("""
            a {warranty|guarantee}
            a {warranty|guarantee} on <obj>
            some {warranty|guarantee|cover}
        """),
        answers=texts("""
            {We give|You get|There is} {a |}<years> years{ of|'} {warranty|guarantee}.
            The {warranty|guarantee} {lasts|runs|is} <years> years.
            {Every|Each} {<item>|item|piece} {is covered|has a guarantee} for <years> years.
            {Every|Each} {<item>|piece} has a {warranty|guarantee} of <years> years.
            {It is|Everything is} {covered|under warranty} for <years> years{ from the day you bought it|}.
        """),
        values={"years": number(2, 30)},
    ),
)
