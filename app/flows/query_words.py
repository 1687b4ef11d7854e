"""The English of the search box, all in one place: another language would be another module like this one."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan",
            "february feb",
            "march mar",
            "april apr",
            "may",
            "june jun",
            "july jul",
            "august aug",
            "september sept sep",
            "october oct",
            "november nov",
            "december dec",
        ),
        start=1,
    )
    for name in _words(names)
}
SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}  # first month, northern hemisphere
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
NUMBERS = {
    word: number
    for number, words in enumerate(
        ("a an one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
        start=1,
    )
    for word in _words(words)
}
UNITS = ("day", "week", "month", "year")
DECADES = {
    name: number
    for number, name in enumerate(
        _words("twenties thirties forties fifties sixties seventies eighties nineties"), start=2
    )
}

# What comes before a date or a name, and belongs to it
SHOT = ("taken", "shot", "made", "captured", "photographed", "dated")
ADDED = ("added", "uploaded", "imported")
BEFORE = ("before", "prior to", "earlier than", "older than")
AFTER = ("after", "later than", "newer than")
SINCE = ("since", "starting in", "starting from")
UNTIL = ("until", "till", "up to")
DURING = ("in", "from", "on", "of", "during", "around", "at", "over")
AT_PLACE = ("in", "at", "near", "from")  # after these even a name that is a word may be a place
BY_PLACE = (*AT_PLACE, "around", "of", "to")
WITH_CAMERA = ("with", "by", "on", "from", "using")
MINE = ("my", "our")
ARTICLES = ("a", "an", "the", "this", "that", "his", "her", "their")
NOT = ("not", "no", "without", "except", "never", "nor")
LINKS = ("and", "or", "but")

PHOTOS = ("photos", "pictures", "images", "pics", "shots", "photographs")

# Of these alone, beside filters, nothing is to be compared
ABOUT_PHOTOS = frozenset(
    _words(
        "photo photos picture pictures image images pic pics photograph photographs shot shots snapshot "
        "snapshots show me find search for all any every some my our the a of from in with taken made magna i have"
    )
)

# A number before one of these is a count or a measure, not a year …
COUNTED = _words(
    "people persons men women children kids guests visitors soldiers words pieces items points steps "
    "copies times dollars euros pounds cents m km cm mm ft meters metres kilometers kilometres miles feet "
    "inches kg grams liters litres watts volts rpm px pixels calories years days hours minutes seconds "
    "degrees"
)
# … and after one of these it is a name.
NUMBERED = _words(
    "route highway road number no room model flight gate gay bus line train tram size iso windows bmw porsche "
    "peugeot boeing class page lot unit area code suite"
)

# "no parking" is written on a sign
SIGNS = _words(
    "parking entry smoking exit stopping standing trespassing swimming fishing diving littering turn "
    "turns turning thru through way one longer more man's name title idea outlet access"
)
NOT_EXCLUDED = _words("and but in on at with of for from to is are was be by as")

# Words of cameras' names that name no camera
CAMERA_WORDS = frozenset(
    _words(
        "camera cameras digital phone phones corporation company imaging optical ltd inc co one plus pro max "
        "mini lite mark ii iii iv go new se still compact zoom lens series mirrorless by the and of"
    )
)

# Words that are names of places, too
PLACE_WORDS = frozenset(
    _words(
        """
        acre all along angers apple apples are as at atop august aurora baker ball bamboo banana bar barge
        bath batman battle bay beach bean bear bears bell bend bender best big biking bird black blowing blue
        born boulder branch bravo brewer bridge bright broken brown buffalo bush cal can canon cape carpenter
        cars cash cast castle cat cave centennial center central chad champagne chandler cherry china city
        clay clear coast coffee college commercial concord cool cork corner country court creek cross crystal
        cut deal deep deer delta derby diamond die do dock dog dove dover downtown dry eagle east eastern elk
        energy enterprise essen evening eye fair falcon fall falls farm fish five flat fleet flint florence
        flower force ford forest fork fort fountain fox freedom front fruit fuji gap garden garland gate gay
        georgia give glass going gold golden golf goose grand grant grass gray great green grove guinea half
        hall ham hamlet happy harbor harrow hat haven head heights hell high hill hills hillside hit holder
        holly home hook hope horn horse hot house hue hull hunter hut iron is island jack jade jasper jersey
        jordan jumper junction king lady lake lakes lamp land landmark lane lens level light lime line lit
        little lodge log lone long look lot made magna male mall man manta many march mary mascara may meadow
        meadows medicine mesa metro mid middle midland mile mill mobile moon morning moss mound mount mountain
        nan nancy new nice night nome normal north northern oak oasis ocean of old on one opportunity oral
        orange oriental over pace palm palms panama paper paradise park pearl pen people phoenix pine pink
        pipe pit plain plains plane planes plant plate plaza point pole police pond pool poole port poses post
        prairie price prospect providence puck queen rain ranch rapids reading red reunion rice ridge river
        riverside road rock rocks rocky rose roses round row rugby run rural rush saga sage sail sale salt
        same sand sandstone sandwich sandy sauce scissors sea see shallow shell shore shoreline short show
        side silver ski sky slope smith snow soap soda south southern spa speedway spirit split sport spring
        springs square stall star station stone store strawberry stream street stroud summer summit sun
        sunrise sunset sunshine surf surprise sweet swift table tall tan tea temple the them three to top
        tours tower town trail train tree trees turkey turtle twin twist two tyre union upper used vale valley
        van view village vista walk wall walls ware warren water waterfall wedding welcome well wells west
        western white wild willow wing winner winter wolf wood woods wool worms yellow young zone
        """
    )
)
PLACE_ALIASES = {
    "america": "united states",
    "usa": "united states",
    "uk": "united kingdom",
    "great britain": "united kingdom",
    "holland": "netherlands",
    "czechia": "czech republic",
}
COUNTRY_WORDS = frozenset(_words("chad china georgia guinea jersey jordan turkey"))  # mostly meant after "in"
