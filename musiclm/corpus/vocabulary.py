"""Sentences about music in general English, wider than the corpus, to train a text vocabulary on.

The captions only know the corpus's labels. A user's prompt knows more words; a vocabulary that has
seen them spells them in few tokens instead of letter by letter.
"""

import numpy as np

from musiclm.corpus.attributes import draw_attributes
from musiclm.corpus.captions import describe_attributes, with_articles
from musiclm.corpus.genres import GENRES

_SEED = 20230126


def _listed(text: str) -> tuple[str, ...]:
    """Entries of a list written over several lines, separated by commas."""
    return tuple(" ".join(entry.split()) for entry in text.split(","))


_ADJECTIVES = _listed("""
    acoustic, aggressive, ambient, angelic, angry, anthemic, atmospheric, beautiful, bittersweet,
    bluesy, breezy, calm, catchy, celestial, chaotic, cheerful, chilled, cinematic, clean, cold,
    complex, cool, crisp, dark, deep, delicate, dense, dissonant, distant, distorted, dramatic, dreamy,
    dusty, earthy, echoing, electric, electronic, elegant, emotional, energetic, epic, ethereal, exotic,
    experimental, expressive, fast, festive, fierce, folky, forceful, fragile, free, fresh, fun, funky,
    fuzzy, gentle, glorious, graceful, grand, groovy, happy, hard, harmonic, harsh, haunting, heavy,
    heroic, hopeful, huge, hypnotic, icy, intense, intimate, jazzy, joyful, lazy, light, liquid, lively,
    lonely, loud, low, lush, lyrical, magical, majestic, meditative, mellow, melodic, metallic, minimal,
    modern, moody, muffled, muted, mysterious, mystical, nostalgic, ominous, orchestral, organic,
    passionate, peaceful, percussive, playful, plucked, poetic, polished, powerful, psychedelic, punchy,
    pure, quiet, raw, reflective, relaxed, repetitive, resonant, reverberant, rhythmic, rich, romantic,
    rough, rustic, sacred, sad, sensual, serene, sharp, shimmering, short, silky, simple, slow, smooth,
    soft, solemn, somber, sombre, soothing, soulful, sparkling, sparse, spiritual, staccato, steady,
    strange, strong, subtle, suspenseful, sustained, sweet, swinging, syncopated, tender, tense, thick,
    thin, tight, traditional, tribal, triumphant, tropical, uplifting, urgent, vibrant, vintage,
    virtuosic, warm, wide, wild, wistful, wooden, yearning
""")
_INSTRUMENTS = _listed("""
    piano, violin, viola, cello, double bass, bass guitar, acoustic guitar, electric guitar, steel
    guitar, ukulele, banjo, mandolin, lute, harp, sitar, koto, zither, dulcimer, flute, piccolo,
    recorder, pan flute, oboe, clarinet, bassoon, saxophone, tenor saxophone, trumpet, trombone, french
    horn, tuba, bagpipes, harmonica, accordion, concertina, organ, church organ, harpsichord, clavinet,
    celesta, music box, glockenspiel, xylophone, marimba, vibraphone, tubular bells, steel drum,
    timpani, snare drum, bass drum, kick drum, hi-hat, cymbals, ride cymbal, tom-toms, congas, bongos,
    tambourine, shaker, triangle, claves, cowbell, castanets, tabla, djembe, cajon, gong, hand claps,
    finger snaps, synthesizer, analog synth, modular synth, synth bass, synth pad, arpeggiator, sampler,
    turntables, drum machine, 808, 909, theremin, mellotron, vocoder, choir, male voice, female voice,
    soprano, alto, tenor, baritone, humming, whistling, beatboxing, rapping, string quartet, string
    section, brass section, woodwinds, orchestra, big band, rock band, marching band, didgeridoo,
    kalimba, fiddle, erhu
""")
_GENRES = _listed("""
    techno, house, deep house, trance, drum and bass, dubstep, electro, synthwave, disco, funk, soul,
    gospel, rhythm and blues, blues, boogie, ragtime, swing, bebop, cool jazz, smooth jazz, fusion,
    bossa nova, samba, salsa, tango, rumba, cha-cha, mambo, flamenco, fado, reggae, dub, ska, calypso,
    afrobeat, hip hop, trap, lo-fi, trip hop, pop, synth-pop, k-pop, indie pop, rock, hard rock, punk,
    metal, death metal, grunge, progressive rock, post-rock, surf rock, country, bluegrass, folk,
    celtic, klezmer, polka, waltz, mazurka, march, minuet, baroque, classical, romantic, impressionist,
    opera, symphony, concerto, sonata, string quartet, chamber music, choral, gregorian chant, film
    score, soundtrack, video game music, chiptune, ambient, drone, new age, noise, industrial,
    minimalism, lullaby, nursery rhyme, christmas carol, hymn, national anthem, sea shanty, work song,
    spiritual, raga, gamelan, bollywood, balkan brass, oriental, latin, world music
""")
_NOUNS = _listed("""
    melody, harmony, rhythm, beat, groove, tempo, pulse, chord, chords, progression, cadence, bass,
    bassline, riff, hook, verse, chorus, bridge, intro, outro, solo, break, drop, build-up, crescendo,
    decrescendo, fade-in, fade-out, loop, sample, phrase, theme, motif, variation, arpeggio, scale, key,
    mode, major, minor, octave, interval, third, fifth, seventh, note, tone, pitch, timbre, texture,
    dynamics, volume, accent, trill, tremolo, vibrato, glissando, slide, bend, legato, staccato,
    pizzicato, syncopation, shuffle, swing, backbeat, downbeat, upbeat, offbeat, measure, bar, metre,
    meter, reverb, delay, echo, chorus, distortion, overdrive, fuzz, filter, sweep, compression, stereo,
    mono, recording, demo, live, studio, concert, audience, applause, crowd, vinyl, crackle, tape, hiss,
    noise, silence, voice, vocals, lyrics, singer, band, orchestra, ensemble, duo, trio, quartet,
    conductor, composer, producer, dancer, sound, song, track, tune, piece, ballad, anthem, jingle,
    soundtrack, score, mood, feeling, energy, atmosphere
""")
_PLACES = _listed("""
    a concert hall, a small club, a church, a cathedral, a living room, a kitchen, a bar, a restaurant,
    a hotel lobby, a cafe, a beach, a forest, a mountain village, a busy street, a train station, a
    space station, a spaceship, a desert, a castle, a circus, a fair, a playground, a school, a stadium,
    a festival, a gym, a shopping mall, an elevator, a garden, a river bank, the sea, outer space, the
    jungle, a medieval tavern, a saloon, a temple, a carnival, a wedding, a funeral, a birthday, a road
    trip, a sunset, a sunrise, midnight, a winter evening, a summer afternoon, a rainy morning, a video
    game, an advertisement, a documentary, a romantic comedy, a western, a science fiction film, a
    nature film, a news programme, a podcast, a meditation app
""")
_TEMPLATES = (
    "A {adjective} {genre} {noun} with {instrument} and {instrument}",
    "{adjective} {instrument} with {adjective} {noun}",
    "The {noun} is {adjective} and {adjective}, played by {instrument}",
    "This is a {genre} piece. The {instrument} plays a {adjective} {noun}. It could be heard in {place}",
    "The low quality recording features a {adjective} {noun} over a {adjective} {instrument}",
    "A {adjective} {genre} song that would suit {place}",
    "{genre}, {adjective}, {instrument}, {noun}",
    "{adjective} {noun}, {instrument}, {genre} style",
    "There is no {instrument} in this {genre} track, only a {adjective} {noun}",
    "The {instrument} starts quietly, then the {noun} becomes {adjective} and louder",
    "Imagine {place}: a {adjective} {instrument} in the background",
    "Make it faster, slower, higher or lower, more {adjective} and less {adjective}",
    "I want to hear {instrument} and {instrument} playing a {adjective} {genre} tune",
    "{instrument} improvising over a {adjective} {noun} in {place}",
    "The main soundtrack of {place}, {adjective} and {adjective}, with {instrument}",
    "An instrumental {genre} piece without {instrument}, its {noun} {adjective}",
)


def vocabulary_sentences(count: int = 3000) -> list[str]:
    """`count` different sentences and phrases, always the same: captions, and wider English for music."""
    if count < 1:
        raise ValueError(f"expected a count of 1 or more sentences, got {count}")
    generator = np.random.Generator(np.random.PCG64(_SEED))
    lists = {
        "adjective": _ADJECTIVES,
        "instrument": _INSTRUMENTS,
        "genre": _GENRES,
        "noun": _NOUNS,
        "place": _PLACES,
    }
    sentences: dict[str, None] = {}
    while len(sentences) < count:
        if generator.random() < 0.4:
            attributes = draw_attributes(generator)
            metres = GENRES[attributes.genre].metres
            sentences.update(
                dict.fromkeys(
                    describe_attributes(attributes, metres[-1], count=3, seed=int(generator.integers(2**31)))
                )
            )
            continue
        text = _TEMPLATES[int(generator.integers(len(_TEMPLATES)))]
        while "{" in text:
            slot = text[text.index("{") + 1 : text.index("}")]
            words = lists[slot]
            text = text.replace(f"{{{slot}}}", words[int(generator.integers(len(words)))], 1)
        text = with_articles(text)
        sentences[text if generator.random() < 0.6 else text.lower()] = None
    return list(sentences)[:count]
