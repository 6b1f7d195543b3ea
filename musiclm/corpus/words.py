"""Words the captions choose from: synonyms of every label, as users would write them."""

MOOD_WORDS: dict[str, tuple[str, ...]] = {
    "calm": (
        "calm", "calm", "calm", "peaceful", "relaxing", "soothing", "tranquil", "serene", "mellow",
        "gentle", "relaxed", "quiet", "laid-back", "meditative", "restful",
    ),
    "happy": (
        "happy", "happy", "happy", "cheerful", "joyful", "bright", "sunny", "merry", "upbeat",
        "feel-good", "carefree", "jolly", "positive",
    ),
    "sad": (
        "sad", "sad", "sad", "melancholic", "sorrowful", "mournful", "gloomy", "heartbroken",
        "wistful", "tearful", "melancholy", "lonely", "blue",
    ),
    "energetic": (
        "energetic", "energetic", "energetic", "driving", "powerful", "lively", "intense", "exciting",
        "high-energy", "pumping", "dynamic", "vigorous", "wild",
    ),
    "mysterious": (
        "mysterious", "mysterious", "mysterious", "enigmatic", "eerie", "haunting", "strange",
        "secretive", "otherworldly", "suspenseful", "spooky", "uncanny",
    ),
    "romantic": (
        "romantic", "romantic", "romantic", "tender", "loving", "passionate", "warm", "heartfelt",
        "sentimental", "intimate", "affectionate",
    ),
    "dark": (
        "dark", "dark", "dark", "ominous", "sinister", "brooding", "menacing", "grim", "heavy",
        "foreboding", "threatening", "gothic",
    ),
    "playful": (
        "playful", "playful", "playful", "bouncy", "quirky", "whimsical", "funny", "mischievous",
        "light-hearted", "cheeky", "comical", "humorous",
    ),
    "dreamy": (
        "dreamy", "dreamy", "dreamy", "ethereal", "floating", "hazy", "airy", "nostalgic",
        "weightless", "soft-focus", "hypnotic", "spacey",
    ),
    "heroic": (
        "heroic", "heroic", "heroic", "epic", "triumphant", "majestic", "grand", "bold",
        "victorious", "noble", "proud", "inspiring",
    ),
}  # fmt: skip

SCENES: dict[str, tuple[str, ...]] = {
    "calm": ("meditation", "falling asleep", "a quiet evening", "yoga", "reading a book", "a lazy morning"),
    "happy": ("a sunny day", "a birthday party", "a summer holiday", "a walk in the park", "a family film"),
    "sad": ("a rainy day", "a goodbye scene", "a broken heart", "a lonely night", "a funeral"),
    "energetic": ("a workout", "a car chase", "running", "a sports video", "a night of dancing"),
    "mysterious": ("a detective story", "a foggy forest", "a ghost story", "exploring a cave", "a riddle"),
    "romantic": ("a candlelit dinner", "a wedding", "a love scene", "a first dance", "an evening in Paris"),
    "dark": ("a horror film", "a thriller", "a villain", "a haunted castle", "a storm at night"),
    "playful": ("a cartoon", "children", "a puppet show", "a puzzle game", "a clumsy cat"),
    "dreamy": (
        "watching the stars",
        "a dream sequence",
        "drifting clouds",
        "a lullaby",
        "an underwater scene",
    ),
    "heroic": (
        "a film trailer",
        "an adventure game",
        "a victory parade",
        "a knight's tale",
        "the final battle",
    ),
}

IMAGES: dict[str, tuple[str, ...]] = {
    "calm": ("still water at dawn", "a deep breath", "a warm bath", "snow falling without a sound"),
    "happy": (
        "sunshine through an open window",
        "good news",
        "skipping down the street",
        "the first day of spring",
    ),
    "sad": ("rain on a window", "an empty chair", "autumn leaves", "a letter that was never sent"),
    "energetic": ("a train at full speed", "fireworks", "strong coffee", "a stadium full of people"),
    "mysterious": ("footprints in the fog", "a locked door", "moonlight on old stones", "a secret passage"),
    "romantic": ("two people dancing in the kitchen", "roses", "a long embrace", "holding hands at sunset"),
    "dark": (
        "a shadow on the stairs",
        "black clouds gathering",
        "an abandoned factory",
        "midnight in a crypt",
    ),
    "playful": ("kittens chasing a ball", "a clown on a bicycle", "hopscotch", "a mouse in the pantry"),
    "dreamy": ("floating among clouds", "half asleep in the sun", "a distant memory", "light under water"),
    "heroic": (
        "a hero coming home",
        "an eagle over the mountains",
        "raising a flag",
        "the end of a long quest",
    ),
}

# Adjectives for the accompaniment and for drums, by mood.
TOUCHES: dict[str, tuple[str, ...]] = {
    "calm": ("soft", "gentle", "quiet", "smooth", "sparse"),
    "happy": ("bright", "cheerful", "lively", "light"),
    "sad": ("soft", "mournful", "sombre", "sparse"),
    "energetic": ("driving", "punchy", "energetic", "busy"),
    "mysterious": ("eerie", "sparse", "muted", "shadowy"),
    "romantic": ("warm", "soft", "lush", "flowing"),
    "dark": ("heavy", "dark", "brooding", "ominous"),
    "playful": ("bouncy", "light", "playful", "crisp"),
    "dreamy": ("soft", "hazy", "shimmering", "floating"),
    "heroic": ("grand", "strong", "bold", "broad"),
}

GENRE_WORDS: dict[str, tuple[str, ...]] = {
    "techno": ("techno", "techno", "techno", "electronic dance", "club", "EDM", "electronic", "rave"),
    "waltz": ("waltz", "waltz", "waltz", "Viennese waltz", "ballroom waltz"),
    "rock": ("rock", "rock", "rock", "rock and roll", "classic rock", "indie rock"),
    "jazz": ("jazz", "jazz", "jazz", "swing", "jazzy", "swing jazz", "jazz club"),
    "ambient": ("ambient", "ambient", "ambient", "atmospheric", "chill-out", "new age", "soundscape"),
    "folk": ("folk", "folk", "folk", "traditional folk", "folksy", "country folk", "village folk"),
    "classical": ("classical", "classical", "classical", "chamber", "concert-hall", "classical chamber"),
    "reggae": ("reggae", "reggae", "reggae", "Jamaican reggae", "roots reggae", "island reggae"),
    "bossa nova": ("bossa nova", "bossa nova", "bossa nova", "Latin", "Brazilian", "samba-like", "bossa"),
    "blues": ("blues", "blues", "blues", "bluesy", "shuffle blues", "delta blues", "blues bar"),
    "hip hop": ("hip hop", "hip hop", "hip-hop", "lo-fi", "lofi hip hop", "boom bap", "trip hop"),
}

INSTRUMENT_WORDS: dict[str, tuple[str, ...]] = {
    "violin": ("violin", "violin", "violin", "solo violin", "fiddle"),
    "flute": ("flute", "flute", "flute", "concert flute"),
    "piano": ("piano", "piano", "piano", "grand piano", "acoustic piano"),
    "acoustic guitar": (
        "acoustic guitar",
        "acoustic guitar",
        "steel-string guitar",
        "plucked acoustic guitar",
    ),
    "electric guitar": ("electric guitar", "electric guitar", "clean electric guitar", "clean guitar"),
    "distorted guitar": (
        "distorted guitar",
        "distorted guitar",
        "distorted electric guitar",
        "overdriven guitar",
    ),
    "saxophone": ("saxophone", "saxophone", "sax", "alto sax", "alto saxophone"),
    "trumpet": ("trumpet", "trumpet", "trumpet", "brass trumpet"),
    "clarinet": ("clarinet", "clarinet", "clarinet", "woodwind clarinet"),
    "cello": ("cello", "cello", "cello", "solo cello"),
    "synth lead": ("synth lead", "synth lead", "lead synth", "lead synthesizer", "sawtooth synth"),
    "organ": ("organ", "organ", "organ", "drawbar organ", "electric organ"),
    "vibraphone": ("vibraphone", "vibraphone", "vibes", "vibraphone"),
    "harmonica": ("harmonica", "harmonica", "mouth harp", "blues harp"),
    "accordion": ("accordion", "accordion", "accordion", "squeezebox"),
    "whistle": ("whistle", "whistle", "human whistle", "whistling"),
    "oboe": ("oboe", "oboe", "oboe", "woodwind oboe"),
    "music box": ("music box", "music box", "music box", "tiny music box"),
    "harp": ("harp", "harp", "harp", "concert harp"),
    "marimba": ("marimba", "marimba", "marimba", "wooden marimba"),
    "electric piano": ("electric piano", "electric piano", "Rhodes", "Rhodes piano"),
    "harpsichord": ("harpsichord", "harpsichord"),
    "strings": ("strings", "strings", "string section", "string ensemble", "orchestral strings"),
    "choir": ("choir", "choir", "choir voices", "wordless choir"),
    "synth pad": ("synth pad", "synth pad", "warm pad", "synthesizer pad", "pad"),
    "synth": ("synth", "synth", "synthesizer", "polysynth"),
    "double bass": ("double bass", "double bass", "upright bass", "acoustic bass"),
    "electric bass": ("electric bass", "electric bass", "bass guitar", "bass guitar"),
    "synth bass": ("synth bass", "synth bass", "synthesizer bass", "electronic bass"),
    "tuba": ("tuba", "tuba bass", "tuba"),
}

# Slowest tempo, fastest tempo, words. Between the ranges a caption names no tempo word.
TEMPO_WORDS: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (60, 70, ("very slow", "slow", "slow", "slow-paced", "downtempo")),
    (71, 86, ("slow", "slow", "slow", "slow-paced", "unhurried", "leisurely", "downtempo")),
    (92, 118, ("mid-tempo", "mid-tempo", "moderate", "medium-paced", "moderately paced", "walking-pace")),
    (126, 158, ("fast", "fast", "fast", "up-tempo", "fast-paced", "quick", "brisk")),
    (159, 180, ("very fast", "fast", "fast", "rapid", "fast-paced", "breakneck")),
)

WITH_DRUMS = (
    "with drums", "with drums", "with a drum kit", "with a steady drum beat", "with percussion",
    "with a drum groove", "driven by drums", "backed by drums", "with drums and percussion",
    "over a drum beat",
)  # fmt: skip
DRUM_TAGS = ("drums", "drums", "with drums", "drum beat", "percussion", "drum kit", "drum groove")
WITHOUT_DRUMS = (
    "without drums", "without drums", "no drums", "with no drums", "no percussion", "without percussion",
    "without any drums", "drum-free", "and no percussion at all", "and no drums",
)  # fmt: skip
NO_DRUM_TAGS = ("no drums", "no drums", "without drums", "no percussion", "drumless", "drum-free", "no beat")

PIECES = ("piece", "piece", "tune", "track", "song", "instrumental", "composition", "recording")
MELODIES = ("melody", "melody", "melody", "tune", "theme", "line", "solo")
