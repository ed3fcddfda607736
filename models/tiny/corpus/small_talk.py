"""What is said beside the questions: greetings, thanks, ways to open and close an answer, system texts."""

SMALL_TALK = (
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

ANSWER_OPENERS = {
    "plain": ("",),
    "warm": ("{Good question|Thanks for asking|Happy to help|Of course|Gladly}{!|.} ", "{Hello|Hi}! ", ""),
    "short": ("", "", "{Sure|Yes|Hello}{.|:} "),
    "formal": ("{Dear customer,|Thank you for your question.|Good day.} ", ""),
}
ANSWER_CLOSERS = {
    "plain": ("",),
    "warm": (" {Anything else|Can I help with anything else}?", " {Enjoy|Have fun}!", ""),
    "short": ("",),
    "formal": (
        " {Kind regards, <shop>.|Yours, <shop>.}",
        " {We are happy to help.|Please ask if anything is unclear.}",
        "",
    ),
}
SYSTEM_TEXTS = (
    "You {are|work as} the {assistant|helper|chat assistant|support} of <shop>.",
    "You answer {customers|questions} for <shop>, a <kind>{ in <town>|}.",
    "{Answer|Reply} {briefly|kindly|in one sentence|in a friendly way}. {You are the assistant of|The shop is} <shop>.",
    "{Support|Customer} chat of <shop>{, <town>|}.",
    "You are a {helpful|friendly|polite} assistant{ at <shop>|}.",
)
