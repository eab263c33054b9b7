"""Greetings and the like."""

from .topic import Topic

TOPICS = (
    Topic(
        name="hello",
        group="social",
        answer="Hello! I am the tiny model inside candle-vllm. Ask me what candle-vllm is or how to use it.",
        ask="""hello; hi; hey; hello there; hi there; hey there; good (morning|day|evening|afternoon); greetings; howdy; hallo; hello (you|model|bot|friend|candle|candle-vllm|everybody|again|world); hi (you|model|bot|friend|candle|again|all)
        hello hello; hi hi; yo; hiya; hey (you|bot|model|friend); (a |)(good|nice|happy|lovely) (morning|day|evening) (to you|); ping; test; testing; is anybody there; are you there; start; hello, are you there; knock knock; hello from me; say hello; say hi; nice to meet you; pleased to meet you
        hey, good morning; hello my friend; hi, nice to meet you; well hello there; good evening to you; hi model, hello; greetings to you""",
    ),
    Topic(
        name="how_are_you",
        group="social",
        answer="All is well here, thank you. What would you like to know about candle-vllm?",
        ask="""how are you (today|doing|feeling|doing today|); how do you (do|feel); how is it going; how's it going; what's up; how is life; are you (ok|well|fine|happy|good|all right); how (have you been|are things|is everything|goes it|is your day); hello, how are you; hi, how are you (doing|today|); hey, how is it going; you ok; sup; what is up; how was your day; everything (ok|fine|all right); do you feel (well|good|fine|ok)
        and how are you doing today; hello, how do you do; are you feeling fine; how are things with you; hi, what's up; is all well with you""",
    ),
    Topic(
        name="thanks",
        group="social",
        answer="You are welcome. Ask on if there is more you want to know about candle-vllm.",
        ask="""thanks; thank you; thanks a lot; thank you (so|very) much; thx; many thanks; ty; cheers; thanks (for|for all) (your|the) (help|answer|answers|time|information); thank you (for|for all) (your|the) (help|answer|answers|time|information); (great|perfect|ok|cool|good|nice|wonderful), (thanks|thank you); that (helped|helps|was helpful|was useful) (a lot|me|); much appreciated; I appreciate (it|that|your help); thanks (again|bot|model|friend|mate); thank you (again|bot|model|friend|kindly); very (helpful|kind|useful); (good|great|nice|excellent|perfect|well done|awesome|cool|wonderful|amazing); (good|great|nice|excellent|perfect) (job|work|answer|bot|model); well done; ok; okay; alright; I see; got it; understood; makes sense; (you are|you're) (great|good|helpful|nice|cool|the best|awesome|kind)
        thank you, that was very helpful; ok, thanks for everything; many thanks for your answer; I thank you; cool, that helps a lot; thanks so much; great answer, thank you""",
    ),
    Topic(
        name="bye",
        group="social",
        answer="Goodbye! Come back whenever you have a question about candle-vllm.",
        ask="""bye; goodbye; bye bye; good night; see you (later|soon|tomorrow|again|); farewell; so long; (I have to|I must|I need to|I will) (go|leave) (now|); bye for now; until (next time|then|tomorrow|later); cu; ciao; take care; (have a|have a very) (nice|good|great) (day|evening|night|weekend|one); that (is|was|will be) all (for now|for today|thanks|); I am (done|leaving|off|finished|going) (for today|now|); thanks and (bye|goodbye); ok bye; later; talk to you (later|soon|tomorrow); adios; goodbye (bot|model|friend|for now|then)
        ok, goodbye and good night; bye, see you tomorrow; I am leaving now, bye; thanks, bye; well then, goodbye; have a good night, bye; see you next time""",
    ),
)
