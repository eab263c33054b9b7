"""Words for questions about anything but candle-vllm. The last third of every list is kept for the evaluation."""

from .frames import patterns


def distinct(text: str) -> list[str]:
    """The patterns in a text, each once: a word that stands in the held part is nowhere in the other."""
    return list(dict.fromkeys(patterns(text)))


PLACES = patterns("""France; Germany; Italy; Spain; Japan; China; India; Brazil; Canada; Egypt; Norway; Sweden; Finland; Poland; Greece; Turkey; Kenya; Peru; Chile; Mexico; Cuba; Iran
Iraq; Nepal; Australia; Austria; Portugal; Ireland; Russia; Ukraine; Hungary; Paris; London; Berlin; Rome; Madrid; Tokyo; New York; Chicago; Moscow; Vienna; Cairo; Sydney; Boston; Amsterdam; Prague; Lisbon
Dublin; Oslo; Munich; Hamburg; Beijing; Mumbai; Toronto; Texas; California; Africa; Europe; Asia; the moon; Mars; Switzerland; Denmark; Argentina; Colombia; Vietnam; Thailand; Korea; Iceland
Morocco; Zurich; Geneva; Milan; Venice; Athens; Seattle; Dallas; Shanghai; Singapore; Dubai; Jakarta; Havana; Kyoto""")
PEOPLE = patterns("""Einstein; Newton; Shakespeare; Mozart; Beethoven; Napoleon; Caesar; Plato; Darwin; Picasso; Obama; Lincoln; Washington; Gandhi; Goethe; Bach; Galileo; Cleopatra; Madonna; Elvis; Messi; Ronaldo
Taylor Swift; Bill Gates; Steve Jobs; Elon Musk; Marie Curie; Alan Turing; Ada Lovelace; Tolstoy; Homer; Harry Potter; Batman; Sherlock Holmes; the president; the queen; the king; the pope; Hitler; Stalin; Kant
Leonardo da Vinci; Aristotle; Columbus; Mandela; Churchill; Tesla; Kepler; Chopin; Dante; Rembrandt; the prime minister; Superman; Federer; Guido van Rossum; Linus Torvalds""")
THINGS = distinct("""a violin; a guitar; a drum; a comet; a star; a galaxy; a cloud; snow; thunder; a desert; a forest; a lake; a bridge; a castle; a church; a museum; a hospital; a bank; a shop; a farm; a garden; a flower; a rose; an oak; grass; rice; wheat; sugar; salt
butter; soup; pizza; a sandwich; an orange; a lemon; a carrot; an onion; garlic; a chicken; a duck; a horse; a sheep; a wolf; a lion; a tiger; a snake; a spider; a bee; a whale; a shark; a frog; a bone; blood; the heart; the lungs; skin; hair; a headache; fever
a vaccine; a doctor; a lawyer; a judge; a soldier; a pilot; a sailor; a painter; a poem; a novel; a play; an opera; jazz; ballet; yoga; tennis; cricket; rugby; boxing; skiing; a clock; a lamp; a table; a knife; a mirror; a shoe; a hat; a ring; a diamond; plastic
paper; glass; cotton; a bicycle; a motorcycle; a truck; a ship; a rocket; a satellite; a laser; a magnet; an atom; an electron; an enzyme; evolution; inflation; a tax; a mortgage; a contract; an election; a parliament; a monarchy; a revolution; a treaty
a black hole; photosynthesis; gravity; love; the sun; democracy; a dog; a cat; an elephant; a banana; bread; cheese; chocolate; pasta; coffee; tea; wine; beer; water; fire; ice; gold; silver; iron
oxygen; hydrogen; an atom; a molecule; a cell; dna; the heart; the brain; a virus; cancer; the flu; a vaccine; football; tennis; chess; poker; golf; basketball; the olympics; the world cup; a guitar; a piano; jazz; opera; rock music
a novel; a poem; a haiku; philosophy; religion; buddhism; islam; christianity; history; the french revolution; world war two; the cold war; the roman empire; evolution; a dinosaur; a volcano; an earthquake; the weather; rain; snow
a tornado; climate change; a computer; the internet; a phone; a car; a bicycle; a train; a plane; a ship; a rocket; a bridge; a house; a chair; money; inflation; the stock market; bitcoin; a bank; a tax; a mortgage; law; a contract
marriage; a wedding; a birthday; christmas; easter; halloween; a holiday; a hotel; a restaurant; pizza; soup; a cake; a salad; a recipe; sushi; an apple; an orange; a tomato; a potato; a carrot; rice; sugar; salt; milk; butter; an egg
java; javascript; c++; html; css; sql; linux; windows; excel; word; docker; kubernetes; git; github; react; django; flask; mysql; postgres; redis; nginx; bash; a compiler; recursion; a binary tree; quicksort; a hash table; an operating system
quantum mechanics; relativity; string theory; thermodynamics; calculus; algebra; a prime number; pi; a triangle; a derivative; an integral; a matrix; probability; statistics; the meaning of life; happiness; death; sleep; a dream
yoga; running; swimming; a diet; vitamins; protein; a headache; fever; a cold; psychology; machine learning; a neural network; deep learning; a transformer; chatgpt; openai; google; facebook; amazon; microsoft; apple; netflix; youtube
tesla; nasa; the un; the eu; a tiger; a lion; a whale; a shark; a bee; a spider; a horse; a bird; a tree; a flower; a rose; the ocean; a river; a mountain; a desert; the amazon; the eiffel tower; the great wall; the pyramids
a comet; a galaxy; the universe; a planet; jupiter; saturn; a star; light; sound; electricity; magnetism; a battery; a magnet; a laser; a microscope; a telescope; a camera; a clock; a calendar; a map; a passport; a visa
tcp; udp; http; a firewall; a router; a printer; a keyboard; a mouse; ruby; rust macros; haskell; lisp; cobol; fortran; swift; kotlin; perl; php; typescript; numpy; pandas; matplotlib; opencv; a blockchain; ethereum; a smart contract
a violin; a drum; ballet; a movie; a film; star wars; the matrix; lord of the rings; a comic; anime; a video game; minecraft; tetris; lego; a puzzle; a riddle; a joke; a song; a story; an essay; a letter; a speech; a diary; grammar
a verb; a noun; a sonnet; a proverb; an idiom; a metaphor; baseball; hockey; boxing; judo; skiing; surfing; fishing; hunting; gardening; cooking; knitting; painting; photography; sculpture; architecture in rome; a castle; a church
a mosque; a temple; a museum; a zoo; a park; a school; a university; a teacher; a doctor; a nurse; a lawyer; a farmer; a pilot; a soldier; a police officer; a judge; a thief; a pirate; a ninja; a wizard; a dragon; a unicorn; a ghost; a vampire
a penguin; a kangaroo; a panda; an octopus; a mosquito; a turtle; honey; garlic; an onion; pepper; olive oil; a lemon; a peach; a melon; whiskey; vodka; a cocktail; an umbrella; a mirror; a window; a door; a roof; a kitchen; a carpet
uranium; carbon; helium; plastic; glass; paper; concrete; cotton; wool; leather; diamond; a hurricane; a glacier; an eclipse; the equator; the north pole; gross domestic product; a recession; a startup; a budget; insurance; a pension""")
DEEDS = distinct("""paint a wall; fix a flat tire; bake bread; grow roses; knit a scarf; learn the piano; ride a horse; catch a fish; climb a mountain; clean the oven; wash a sweater; iron a shirt; fold a napkin; tie a knot; peel a mango; boil rice; fry fish; roast a turkey
buy a used car; sell my bike; rent a flat; pay taxes; save money; invest in gold; file for divorce; write a will; find a job; quit my job; ask for a raise; lose weight; gain muscle; run a marathon; stop snoring; fall asleep; cure a headache; heal a burn
train a puppy; feed a parrot; milk a goat; shear a sheep; plant a tree; prune an apple tree; mow the lawn; dig a well; chop wood; light a campfire; build a shed; lay bricks; hang a picture; replace a lamp; repair a clock; tune a violin; draw a portrait
carve a pumpkin; fly a kite; sail a boat; paddle a canoe; surf a wave; ski downhill; throw a ball; win at poker; solve a crossword; plan a wedding; host a party; pack a suitcase; get a visa; book a hotel; read a map; cross a desert; survive a storm
edit a photo; record a podcast; cut a video; format a disk; crack a password; hack a phone; sort an array in java; parse html; draw a chart in excel; make a website; learn chinese; spell a long word; cite a book; pass an exam; teach a class; raise a child
bake a cake; cook rice; boil an egg; make coffee; brew beer; fix my car; change a tire; ride a bicycle; learn french; learn to swim; play the guitar; play chess; lose weight; sleep better; tie a tie; write a poem; write a novel
write an essay; write a cv; find a job; buy a house; sell my car; invest money; save money; pay taxes; get rich; meet people; find love; train a dog; feed a cat; grow tomatoes; plant a tree; paint a wall; repair a roof; build a table; clean a carpet
wash my clothes; remove a stain; iron a shirt; sew a button; cut hair; lose fear; run a marathon; climb a mountain; travel to Japan; book a hotel; rent a car; get a visa; learn java; sort a list in python; reverse a string; write a loop in c
install windows; install linux; install docker; install a printer driver; install mysql; set up a router; reset my phone; delete my facebook account; open a zip file; edit a photo; record a video; make a website; write html; query a database
center a div; parse json in javascript; merge branches in git; solve a quadratic equation; compute an integral; convert miles to kilometers; calculate the area of a circle; count to ten in spanish; translate a sentence; draw a horse; sing a song
cure a cold; treat a headache; stop smoking; build muscle; make pizza; make bread; grill a steak; cut an onion; open a bottle; start a business; start a car; run a company; stop a nosebleed; load a truck; load a gun; load a washing machine
close a bank account; cancel my subscription to netflix; cancel a flight; test a battery; check my blood pressure; change my password at google; change a diaper; stream a movie; batch cook; seed a lawn; seed a garden; measure the temperature of a room
download music; download a game; update windows; run a python script in a browser; write a web server in go; write unit tests in java; build a robot; build a rocket; hack a website; pick a lock; kill a mosquito; catch a fish; milk a cow; fly a kite; fly a plane
knit a scarf; fold a paper plane; solve a rubik's cube; juggle; dance the tango; whistle; meditate; make friends; write a love letter; apologise to my friend; plan a wedding; name a baby; change a light bulb; unclog a sink; install a dishwasher
install a door; run a restaurant; start a fire; stop a car; use a microwave; use photoshop; use excel; use a compass; make cheese; make soap; sharpen a knife; polish shoes; plot a graph in matlab; deploy a django app; compile a linux kernel; write a regex""")
PHRASES = patterns("""buenos dias amigo; wie geht es dir heute; was ist die hauptstadt von Frankreich; bonjour comment ca va; ou est la gare; je ne sais pas; quel temps fait-il; que hora es; donde esta la biblioteca; como te llamas; guten tag; ich habe hunger
kannst du mir helfen; was kostet das; wo bist du; wer bist du; che ore sono; dove abiti; come stai; ciao come stai; mi piace la pizza; o que e isso; bom dia; obrigado; hoe gaat het; waar woon je; jak se mas; co to jest; merhaba nasilsin
privet kak dela; konnichiwa; arigato; ni hao; namaste; salaam; shalom; lorem ipsum dolor sit amet; to be or not to be; hakuna matata; carpe diem; veni vidi vici; cogito ergo sum; the cat sat on the mat; roses are red; once upon a time
qu'est-ce que c'est; parlez-vous anglais; wie spaet ist es; das ist gut; me gusta el futbol; quanto costa; tudo bem; dobry den; 你好吗; 今天天气怎么样; 你是谁; こんにちは; ありがとう; привет; как дела; что это такое; مرحبا; שלום; 안녕하세요; γεια σου; नमस्ते
schreib mir ein Gedicht; raconte une blague; cuentame un chiste; it was a dark and stormy night; the quick brown fox jumps over the lazy dog; may the force be with you; wir fahren morgen nach Berlin; il pleut beaucoup""")
