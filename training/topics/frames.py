"""Frames that all topics share: `T` stands for a thing, `A` for an action. The held ones are for the evaluation only."""

import re
from collections.abc import Callable, Mapping

LETTER = re.compile(r"\b[A-Z]\b")


def patterns(text: str) -> list[str]:
    """The patterns in a text that separates them by semicolons or new lines."""
    return [part.strip() for part in re.split(r"[;\n]", text) if part.strip()]


THING_FRAMES = patterns("""what is T; what is T; what's T; whats T; what (are|is|about) T; explain T; explain T to me; (can|could|would) you explain T; please explain T; tell me about T; tell me (more|something|a bit) about T; describe T; T; T; T
define T; (what does|what do) T (do|mean); how does T work; how do T work; (I want|I'd like|I would like) to (know|learn) (more |)about T; info on T; information (on|about) T; (I have |)a question about T; what do you know about T; T explained
T, what is (that|it|this); what is (meant by|the meaning of) T; how is T (defined|meant|used); do you know T; (do you know|what can you tell me) about T; (can|could) you tell me about T; (where|how) (do|can) I (find|get|see|use|set) T; (talk|speak) about T
I do not (understand|know|get) T; why T; why is there T; (show|give) me T; details (on|of|about) T; what exactly is T; tell me what T (is|are|means); (is there|are there) T; I need (information on|help with|to know about) T; T please; meaning of T
which T; (I was |)wondering about T; how about T; explain (briefly|simply|in short|quickly) T; what (is|are) T (for|good for); T definition; T (meaning|help|info|question); need help with T; anything about T
give me an overview of T; help me understand T; what should I know about T; I have heard of T, what is it; teach me about T; could you say something about T; let us talk about T; what is the story with T; I am curious about T
clarify T for me; in simple words, what is T; I would be glad to hear about T
(must|should|could|may|do) I (use|know|have|need|set|understand) T; (does|do|will|would|can) T (work|exist|help|matter) (here|now|already|yet|); (I heard|I read|someone told me|my friend told me) (about|of) T; T: (how|what|why|when|where) (is it|)
(what|anything) (else |)(can be said|is known|is there to say) about T; (is|are) T (there|available|included|part of it|any good); (tell|teach|show) me (everything|all|the basics|the truth) about T; when (do|would|should|will) (I|we|one) (use|need|see|have) T
(some|any|more) (words|facts|details|news) (on|about) T; (the|your) (word|term|name) T; (a few|two|some) words about T, please; (introduce|introduction to) T; (discuss|summarize|illustrate|outline) T; (I am|I'm) (interested in|looking for|looking at|reading about|asking about|unsure about) T
(what|how) would you (say about|describe|explain) T; T? what (is|are) (it|they|that); (it|he|she) said T, what does (it|that) mean; (where|when|by whom) (is|are) T (used|needed|made|found); (once more|again)(,|) T; (still|yet) another question on T; T and nothing else; my question is about T
(give|send|tell) me (a summary|an explanation|a description|the meaning|a definition) of T; (can|could|may|might) I (hear|learn|read|get) (something|more|a bit) (on|about|of) T""")
ACTION_FRAMES = patterns("""how do I A; how do I A; how can I A; how can I A; how to A; how to A; how do you A; how would (I|you|one) A; how does one A; how could I A; how do we A; show me how to A; (I want|I need|I'd like|I would like|I wish) to A; can I A; can (you|one|we) A; could I A
is it possible to A; what is the way to A; tell me how to A; explain how to A; A; A; where (do|can) I A; what do I do to A; steps to A; help me A; is there a way to A; (can|could) you (show|tell|explain) me how to A; what (command|code|steps) do I need to A
how is it possible to A; (I do not|I don't) know how to A; how must I A; (may|should) I A; what do I need to A; what does it take to A; the way to A; (easiest|simplest|quickest) way to A; instructions to A; want to A; please help me A; need to A; how did you A; I have to A
please A; is there a command to A; which (command|call|method|setting) do I use to A; a way to A; trying to A; let me A; I tried to A; can you help me (to |)A; what if I want to A; how I can A
what is the best way to A; how should I A; could you tell me how I can A; I am trying to A; what must I do to A; how might someone A; any way to A; what would I have to do to A; teach me to A; I would love to know how to A
what is needed to A; by what means can I A
(must|shall|would|will|might) (I|we|one|you) A (first|now|already|); (can|could) (someone|anyone|somebody) A; (my boss|my friend|a colleague|somebody) wants to A; (I plan|I intend|I hope|I like|we need|we want|it is time) to A; (how|when|why) (would|should|do|could) (we|people|someone) A
(suppose|say|assume|imagine) (I want to|I|we) A, (how|what then|what do I do); (recipe|guide|tutorial|instruction|example|code|command|commands) (to|for how to) A; (the|an|one) (easy|fast|quick|good|right|proper|simple) way to A; (what happens|what) (when|if) I A; (am I|are we) able to A
(I failed|I cannot|I could not manage|I do not manage|I forgot how|I never learned how) to A; (what|which) (tool|flag|option|function|steps|program) (lets me|helps to|is there to) A; (and|but|so) how (do|can) I A; (do you know|can you say|please say|say) how (to|I can|one can) A; in order to A, what (do I do|is needed)
(does|do|will) (it|you|this|we) (let me|allow me to|help to|help me) A; (before|after|when) I A, what (should|must) I know; (for a friend|for work|at home|today|tomorrow) I (want|have|need) to A; it (should|must) be possible to A""")
THING_HELD = patterns("""I'd appreciate an explanation of T; how would one define T; break down T for me; walk me through T; shed some light on T; please enlighten me about T
what does a beginner have to know about T; a brief note on T, please; educate me on T; how do you explain T to a beginner""")
ACTION_HELD = patterns("""what's the procedure to A; guide me, I must A; what options do I have to A; what's the trick to A; do you have a hint on how to A; what would be the proper method to A
advise me how to A; how is one supposed to A; give me directions to A""")


def fill(frame: str, fillers: Mapping[str, Callable[[], str]]) -> str:
    """The frame with each capital letter that stands alone replaced by what its filler gives."""
    return LETTER.sub(lambda match: fillers[match[0]]() if match[0] in fillers else match[0], frame)
