"""Small words that may stand around anything: they say nothing about the topic."""

FILLERS = tuple(
    """I you we he she it they me us him them my your our his their this that these those some any all each every other another such same
a an the of in on at by for from to with without about into onto over under after before during between through against among within upon since until
and or but so because if when while although though than then thus hence also too either neither both not no yes never ever always often sometimes usually
already still yet again once twice soon later now today tomorrow yesterday here there where everywhere somewhere who whom whose what which why how whether
is are was were be been being am do does did done have has had having can could may might must shall should will would need want like wish hope try tried
get got give given take taken make made put let go goes come came see seen look looks find found know known think thought say says said tell told ask asked show
shown use used using work works working help helps mean means meant seem seems keep keeps happen happens become becomes turn turns call called name named
please thanks sorry maybe perhaps really just only even very quite rather almost exactly simply actually basically certainly probably possibly quickly easily
thing things something anything everything nothing someone anyone everyone nobody people person friend way ways kind sort part parts bit lot point reason case
good bad better best new old big small great little long short high low fast slow easy hard simple right wrong true real sure possible available important
first second last next previous more most less least much many few several enough own whole different similar certain main common usual normal ready able
wondering curious interested confused lost stuck happy glad looking trying reading learning hearing talking thinking""".split()
)
