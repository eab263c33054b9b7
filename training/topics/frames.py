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
which T; (I was |)wondering about T; how about T; explain (briefly|simply|in short|quickly) T; what (is|are) T (for|good for); T definition; T (meaning|help|info|question); need help with T; anything about T""")
THING_HELD = patterns("""give me an overview of T; help me understand T; what should I know about T; I have heard of T, what is it; teach me about T; could you say something about T; let us talk about T; what is the story with T; I am curious about T
clarify T for me; in simple words, what is T; I would be glad to hear about T""")
ACTION_FRAMES = patterns("""how do I A; how do I A; how can I A; how can I A; how to A; how to A; how do you A; how would (I|you|one) A; how does one A; how could I A; how do we A; show me how to A; (I want|I need|I'd like|I would like|I wish) to A; can I A; can (you|one|we) A; could I A
is it possible to A; what is the way to A; tell me how to A; explain how to A; A; A; where (do|can) I A; what do I do to A; steps to A; help me A; is there a way to A; (can|could) you (show|tell|explain) me how to A; what (command|code|steps) do I need to A
how is it possible to A; (I do not|I don't) know how to A; how must I A; (may|should) I A; what do I need to A; what does it take to A; the way to A; (easiest|simplest|quickest) way to A; instructions to A; want to A; please help me A; need to A; how did you A; I have to A
please A; is there a command to A; which (command|call|method|setting) do I use to A; a way to A; trying to A; let me A; I tried to A; can you help me (to |)A; what if I want to A; how I can A""")
ACTION_HELD = patterns("""what is the best way to A; how should I A; could you tell me how I can A; I am trying to A; what must I do to A; how might someone A; any way to A; what would I have to do to A; teach me to A; I would love to know how to A
what is needed to A; by what means can I A""")


def fill(frame: str, fillers: Mapping[str, Callable[[], str]]) -> str:
    """The frame with each capital letter that stands alone replaced by what its filler gives."""
    return LETTER.sub(lambda match: fillers[match[0]]() if match[0] in fillers else match[0], frame)
