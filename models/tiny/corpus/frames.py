"""Ways to ask that fit many topics: frames around the parts that a topic gives (see `Topic`)."""

from corpus.topic import texts

NOUN_FRAMES = texts("""
    {What is|What's|And what is|So what is|What was} <part>{| again| please| exactly| nowadays| at the moment}?
    What is <part>?
    {Please tell me|Tell me|Give me|Please give me|Just tell me|Let me know} <part>{|, please|, would you}.
    {I am looking for|I need|I would like to know|I want to know|I cannot find|I could not find|I forgot} <part>.
    {Can|Could|Would|Will} you {give me|tell me|send me|name|state|explain} <part>{|, please}?
    {Do|Would} you {know|happen to know|have} <part>?
    <part>{|, please}?
    {Where do I find|How do I find out|Where can I read|Can I ask for|May I have|Could I have} <part>?
    {What about|How about|Any news about|A word about} <part>?
    {I have a question about|My question is about|I wonder about|It is about|I am asking about} <part>.
    {What can|What could} you {tell me|say} about <part>?
""")
CLAUSE_FRAMES = texts("""
    {Can|Could|Would|Will} you {tell me|say|explain|let me know|inform me|find out} <part>{|, please}?
    {Please tell me|Tell me|Let me know|Explain to me|Just say} <part>{|, please}.
    I {would like|want|need|would love} to {know|find out|hear|ask|learn} <part>.
    {Do|Would} you {know|happen to know|have an idea} <part>?
    {I wonder|I am wondering|I was wondering|I am not sure|I do not know|I have no idea|I am curious} <part>.
    {Nobody could tell me|I could not find out|Your page does not say|I forgot|I cannot see} <part>.
    {How can I find out|May I ask|Can I ask|Could I know|Where does it say|Is there a way to know} <part>?
    {Any idea|My question:|Question:|One thing:} <part>?
    {It would help me to know|It is important for me to know|I must know} <part>.
""")
PRICE_FRAMES = texts("""
    How much is <part>?
    What does <part> cost{| me| exactly| in all}?
    What {would|will|might} <part> cost{| me| us}?
    {How much|What} do you {charge|want|ask|take|demand} for <part>?
    {How much|What} {do I pay|do I have to pay|would I pay|must I pay|should I pay|do people pay} for <part>?
    {What is|What's|Tell me|Please tell me} the {price|cost|fee|charge|rate} {of|for} <part>{?|, please.}
    How {expensive|costly|dear|pricey} is <part>?
    Is <part> {expensive|costly|cheap|dear}?
    {Price|Cost|Fee|Costs} {of|for} <part>{|, please}?
    How {much money|many euros} {is|do I need for|do you want for|goes on|should I plan for} <part>?
    What {would|does|will} <part> {come to|set me back|run to|add up to}?
    What {amount|sum} do you {charge|ask|bill} {me |}for <part>?
    At what price {do you sell|do you offer|can I have|do I get} <part>?
    What {must|do|would} I spend on <part>?
    {I am interested in|I would like|I want|I am thinking of|I need} <part>. {How much is that|What does that
        cost|What do you charge|What is the price|How expensive is it|What would I pay}?
""")
DURATION_FRAMES = texts("""
    How long does <part> {take|last|need}{| usually| normally| as a rule| with you}?
    How {many days|much time} {does <part> take|do you need for <part>|goes by for <part>|must I plan for <part>}?
    {How long|How many days} {must|should|do|will} I {wait for|allow for|count on for} <part>?
    Does <part> take {long|many days|weeks|much time}?
    {What is|What's} the {usual |normal |}{time|duration|wait} for <part>?
    {How fast|How quick|How slow|How soon} is <part>?
    Time for <part>{|, please}?
    When {is|will be} <part> {done|over|complete}?
""")
ACTION_FRAMES = texts("""
    {Can|May|Could} {I|I|we|people|customers|one} <part>{|, please}?
    Is it {possible|allowed|okay|ok|permitted|still possible} to <part>?
    Would it be possible to <part>?
    I {want|would like|wish|need|plan|hope} to <part>. {Is that possible|Can I|How does it work|Does that work|What
        are the rules|Am I allowed to}?
    Am I {able|allowed|free} to <part>?
    {How|When|How long} can I <part>?
    Do you {let|allow} {people|customers|me} {to |}<part>?
    {What if|What happens if|Suppose} I {want|would like|have} to <part>?
    {Is there a way|Do I have a chance|Do I have the right} to <part>?
""")
OFFER_FRAMES = texts("""
    Do you have <part>{| for me| at the moment| in your shop}?
    Is there <part>{| for me| with you| at all| somewhere}?
    {Have you got|Do you offer|Do you give|Does your shop have|Does <shop> have|Do you do} <part>?
    {Can|Could|May|Do} I {get|have|receive|ask for|expect} <part>{| from you|, please}?
    {I am looking for|I would like|I need|I heard there is|I hope there is|My friend told me about} <part>.
    {Any chance of|What about|How about} <part>?
    {Where|How} {can|do} I {find|get} <part>?
    {Which|What} is <part>{| that you have| that I can use}?
    Would there be <part>?
    <part>?
""")

OPENERS = (
    "{Hi|Hello|Hey|Hi there|Hello there|Good morning|Good evening|Good day|Dear team}{,|!|.} ",
    "{Hi|Hello|Hey} {folks|everybody|<shop>|team|again}{,|!|.} ",
    "{Quick question|A question|One question|One more thing|Just wondering|Another question|Something else}{:|,} ",
    "{Excuse me|Sorry to bother you|Sorry|Pardon}{,|.} ",
    "{So|Well|Also|And|Please|Now|Okay|Right|By the way}, ",
    "{I like your shop|Nice shop|I love your <item>|My sister told me about you|Your <item> is great}. ",
    "{I am a new customer|I am thinking of buying a <item>|I want to order|It is my first order|I saw your <item>}. ",
    "{I bought a <item> from you|I have a <item>|I ordered a <item>|My <item> is here|I got a <item> as a present}. ",
    "{Before I order|Before I buy|If I may ask|For my friend|For my mother}: ",
)
CLOSERS = (
    " {Thanks|Thank you|Thanks a lot|Cheers|Many thanks|Thanks in advance}{!|.|}",
    " {Please let me know|Please help|Please answer soon|It is important}.",
    " {I could not find it on your page|The page does not say|I am curious|Nobody could tell me}.",
    " {I would like to order|I am thinking about it|I want to be sure|I need to know before I order}.",
)
INDIRECT = (
    "{Can|Could|Would} you tell me: ",
    "I {would like|want} to know: ",
    "{Do you know|Tell me|Please tell me}: ",
    "{My question is|What I want to know}: ",
)
CONTRACTIONS = {
    "What is": "What's", "I am": "I'm", "I would": "I'd", "do not": "don't", "does not": "doesn't", "I have": "I've",
    "cannot": "can't", "Where is": "Where's", "Who is": "Who's", "it is": "it's", "There is": "There's",
    "is not": "isn't", "could not": "couldn't", "How is": "How's", "e-mail": "email",
}  # fmt: skip
