"""Rhythmic patterns of the genres: accompaniment, bass and drums on a grid of four steps to the beat.

One character is one step. Common signs: "." silence, "-" the note before goes on.
  accompaniment  x the whole chord, X accented, o softly; 0 … 5 one voice of it, counted from below,
                 higher ones beginning again an octave up
  bass           R root, r the same softly, 3 third, 5 fifth, 8 root an octave up, a a step below or
                 above the next chord's root
  drums          x a stroke, X accented, o softly
A four-beat bar has 16 steps, a three-beat bar 12.
"""

from dataclasses import dataclass

STEPS_PER_BEAT = 4


@dataclass(frozen=True)
class Beat:
    """A drum pattern: percussion name to its line, and how busy it is (0 … 1)."""

    lines: dict[str, str]
    busy: float


# Accompaniment: genre -> metre -> patterns, sparse ones first.
ACCOMPANIMENT: dict[str, dict[int, tuple[str, ...]]] = {
    "techno": {
        4: (
            "x-------x-------",
            "..x-..x-..x-..x-",
            "x--x--x---x--x--",
            "0120120120120123",
            "x.xx.xx.x.xx.xx.",
        ),
    },
    "waltz": {
        3: ("....x-..x-..", "0---x---x---", "0-1-2-3-2-1-", "....x-x-x-x-"),
    },
    "rock": {
        4: (
            "X---------------",
            "X-------x---x---",
            "X---x---X---x---",
            "X-x-x-x-X-x-x-x-",
            "X-xxx-xxX-xxx-xx",
        ),
        3: ("X-----------", "X---x---x---", "X-x-x-x-x-x-"),
    },
    "jazz": {
        4: (
            "x-------------x-",
            "X-....x-........",
            "..x.....X-....x-",
            "....x...x-....x.",
            "X.....x-..x...x-",
        ),
        3: ("x-----------", "X-....x-....", "....x-....x-"),
    },
    "ambient": {
        4: ("x---------------", "x-------x-------", "0---1---2---3---", "0-1-2-3-4-3-2-1-"),
        3: ("x-----------", "0---1---2---", "0-1-2-3-2-1-"),
    },
    "folk": {
        4: (
            "x-------x-------",
            "0---x---1---x---",
            "0-2-1-2-0-2-1-3-",
            "X---x-xx..x-x-x-",
            "0-x-x-x-1-x-x-x-",
        ),
        3: ("x-----------", "0---x---x---", "0-1-2-3-2-1-", "0---x-x-x-x-"),
    },
    "classical": {
        4: (
            "x-------x-------",
            "x---x---x---x---",
            "0-2-1-2-0-2-1-2-",
            "0-1-2-3-2-3-2-1-",
            "0-x-x-x-0-x-x-x-",
        ),
        3: ("x-----------", "0---x---x---", "0-2-1-2-1-2-", "0-1-2-3-2-1-"),
    },
    "reggae": {
        4: ("....X.......X...", "....X.......X.x.", "..x...x...x...x.", "..x.X.x...x.X.x."),
    },
    "bossa nova": {
        4: ("x-----x-----x---", "x--x--x---x--x--", "x-x-.x-.x-x-.x-.", "..x-..x-x-..x-x-"),
    },
    "blues": {
        4: (
            "x-------x-------",
            "....X.......X...",
            "x-..X...x-..X...",
            "X.x.X.x.X.x.X.x.",
            "..x-....X-..x-..",
        ),
    },
    "hip hop": {
        4: (
            "x---------------",
            "x-----x---------",
            "x--x------x--x--",
            "0-1-2-3-2-1-0-1-",
            "x.....x...x.....",
        ),
    },
}

BASS: dict[str, dict[int, tuple[str, ...]]] = {
    "techno": {
        4: (
            "R---R---R---R---",
            "..R-..R-..R-..R-",
            "..RR..RR..RR..R8",
            "R-8-R-8-R-8-R-8-",
            "R.RRR.RRR.RRR.8R",
        )
    },
    "waltz": {3: ("R---........", "R-----------", "R-------5---", "R---5---a---")},
    "rock": {
        4: (
            "R-------R-------",
            "R---R---R---R---",
            "R-R-R-R-R-R-R-R-",
            "R--R--R-5-5-8-a-",
            "R-R-.RR-R-R-5-a-",
        ),
        3: ("R-----------", "R---R---R---", "R-R-R-R-R-R-"),
    },
    "jazz": {
        4: (
            "R-------5-------",
            "R---3---5---a---",
            "R---5---8---a---",
            "R---3---5---3-a-",
            "8---5---3---a---",
        ),
        3: ("R-----------", "R---5---a---", "R---3---a---"),
    },
    "ambient": {4: ("R---------------", "R-----------5---"), 3: ("R-----------",)},
    "folk": {
        4: ("R-------5-------", "R---....5---....", "R-------5---a---", "R---5---R---5---"),
        3: ("R-----------", "R---........", "R-------5---"),
    },
    "classical": {
        4: ("R---------------", "R-------R-------", "R-------5---a---", "R---R---5---R---"),
        3: ("R-----------", "R---....5---", "R-------a---"),
    },
    "reggae": {4: ("R---....5-R-....", "R-----5-R---....", "....R-R-5-..R-..", "R--R--3-5---..a-")},
    "bossa nova": {4: ("R-----R-5-----5-", "R-----5-5-----R-", "R-----RR5-----5a")},
    "blues": {
        4: (
            "R-------5-------",
            "R---R---5---5---",
            "R---3---5---a---",
            "R-R-3-3-5-5-8-5-",
            "R-r-R-r-5-r-3-a-",
        )
    },
    "hip hop": {4: ("R---------------", "R--R----..R-....", "R-----R---R-..5-", "R--R..R-..8-..5-")},
}

# Drums: genre -> metre -> beats, sparse ones first.
DRUMS_OF: dict[str, dict[int, tuple[Beat, ...]]] = {
    "techno": {
        4: (
            Beat({"kick": "X...X...X...X...", "hat": "..x...x...x...x."}, 0.3),
            Beat({"kick": "X...X...X...X...", "clap": "....X.......X...", "open": "..x...x...x...x."}, 0.6),
            Beat(
                {
                    "kick": "X...X...X...X..o",
                    "clap": "....X.......X...",
                    "open": "..x...x...x...x.",
                    "hat": "xo.oxo.oxo.oxo.o",
                },
                1.0,
            ),
        ),
    },
    "waltz": {
        3: (
            Beat({"kick": "X...........", "stick": "....o...o..."}, 0.2),
            Beat({"kick": "X...........", "snare": "....o...o...", "hat": "....x...x..."}, 0.5),
            Beat({"kick": "X.........o.", "snare": "....x...x.o.", "ride": "x...x...x.x."}, 0.9),
        ),
    },
    "rock": {
        4: (
            Beat({"kick": "X.......X.......", "snare": "....X.......X...", "hat": "x...x...x...x..."}, 0.3),
            Beat({"kick": "X.......X.x.....", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."}, 0.6),
            Beat({"kick": "X..x....X.x....x", "snare": "....X.......X..o", "ride": "X.x.X.x.X.x.X.x."}, 0.8),
            Beat({"kick": "X.x.X.x.X.x.X.x.", "snare": "....X..o.o..X..o", "open": "X...X...X...X..."}, 1.0),
        ),
        3: (
            Beat({"kick": "X...........", "snare": "....x...x...", "hat": "x...x...x..."}, 0.3),
            Beat({"kick": "X.....x.....", "snare": "....X...X...", "hat": "x.x.x.x.x.x."}, 0.8),
        ),
    },
    "jazz": {
        4: (
            Beat({"ride": "x...x...x...x...", "pedal": "....x.......x..."}, 0.2),
            Beat({"ride": "X...x.o.X...x.o.", "pedal": "....x.......x...", "kick": "o.......o......."}, 0.5),
            Beat(
                {
                    "ride": "X...x.x.X...x.x.",
                    "pedal": "....x.......x...",
                    "snare": "..o.......o...x.",
                    "kick": "o.....x...o.....",
                },
                1.0,
            ),
        ),
        3: (
            Beat({"ride": "X...x...x...", "pedal": "....x...x..."}, 0.3),
            Beat(
                {
                    "ride": "X...x.x.x...",
                    "pedal": "....x.......",
                    "snare": "..........o.",
                    "kick": "x.....o.....",
                },
                0.8,
            ),
        ),
    },
    "ambient": {
        4: (
            Beat({"kick": "x...............", "shaker": "o...o...o...o..."}, 0.2),
            Beat(
                {"kick": "x.........x.....", "stick": "........x.......", "shaker": "o.o.o.o.o.o.o.o."}, 0.7
            ),
        ),
        3: (
            Beat({"kick": "x...........", "shaker": "o...o...o..."}, 0.2),
            Beat({"kick": "x.......o...", "stick": "....x.......", "shaker": "o.o.o.o.o.o."}, 0.7),
        ),
    },
    "folk": {
        4: (
            Beat({"kick": "X.......X.......", "tambourine": "....x.......x..."}, 0.2),
            Beat(
                {"kick": "X.......X.......", "tambourine": "....X.......X...", "shaker": "x.o.x.o.x.o.x.o."},
                0.5,
            ),
            Beat(
                {"kick": "X...X...X...X...", "snare": "..x...x...x...xo", "tambourine": "....x.......x..."},
                1.0,
            ),
        ),
        3: (
            Beat({"kick": "X...........", "tambourine": "....x...x..."}, 0.2),
            Beat({"kick": "X.....o.....", "tambourine": "....x...x...", "shaker": "x.o.x.o.x.o."}, 0.8),
        ),
    },
    "classical": {
        4: (
            Beat({"kick": "X.......o......."}, 0.1),
            Beat({"kick": "X.......X.......", "snare": "....o.oo....o.o."}, 0.6),
            Beat({"kick": "X.......X...x...", "snare": "x..oooxxx..oooxx"}, 1.0),
        ),
        3: (
            Beat({"kick": "X...........", "snare": "....o...o..."}, 0.3),
            Beat({"kick": "X...........", "snare": "x.oox.o.x.oo"}, 1.0),
        ),
    },
    "reggae": {
        4: (
            Beat({"kick": "........X.......", "stick": "........X.......", "hat": "x...x...x...x..."}, 0.2),
            Beat({"kick": "........X.......", "snare": "........X.......", "hat": "x.o.x.o.x.o.x.o."}, 0.5),
            Beat({"kick": "X...X...X...X...", "stick": "......x.X....x..", "hat": "x.oox.oox.oox.oo"}, 1.0),
        ),
    },
    "bossa nova": {
        4: (
            Beat({"kick": "x.....o.x.....o.", "shaker": "x.x.x.x.x.x.x.x."}, 0.2),
            Beat({"kick": "X.....oox.....oo", "stick": "x..x..x...x..x..", "hat": "x.x.x.x.x.x.x.x."}, 0.6),
            Beat(
                {
                    "kick": "X.....oox.....oo",
                    "stick": "x..x..x...x..x..",
                    "shaker": "xoxoxoxoxoxoxoxo",
                    "conga": "..x...x...x.xx..",
                    "low conga": "..............xx",
                },
                1.0,
            ),
        ),
    },
    "blues": {
        4: (
            Beat({"kick": "X.......X.......", "snare": "....x.......x...", "ride": "x...x...x...x..."}, 0.3),
            Beat({"kick": "X.....o.X.......", "snare": "....X.......X...", "ride": "x.o.x.o.x.o.x.o."}, 0.6),
            Beat({"kick": "X.....x.X.x...x.", "snare": "....X..o....X.o.", "hat": "X.x.X.x.X.x.X.x."}, 1.0),
        ),
    },
    "hip hop": {
        4: (
            Beat({"kick": "X.........x.....", "snare": "....X.......X...", "hat": "x...x...x...x..."}, 0.2),
            Beat({"kick": "X..x......x.....", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."}, 0.6),
            Beat({"kick": "X..x..x...xx....", "snare": "....X..o.o..X...", "hat": "x.xxx.x.x.xoxxxx"}, 1.0),
        ),
    },
}

# Fills fill the end of a bar: as many steps as the line is long.
FILLS: tuple[dict[str, str], ...] = (
    {"snare": "x.xxX.X."},
    {"high tom": "xx......", "mid tom": "..xx....", "low tom": "....X.X."},
    {"snare": "xoxo....", "high tom": "....xx..", "low tom": "......XX"},
    {"snare": "x.x.", "kick": "...x"},
    {"high tom": "x...", "mid tom": ".x..", "low tom": "..Xx"},
    {"snare": "oxxX"},
)

# Genres whose drums are too gentle for toms answer with these.
SOFT_FILLS: tuple[dict[str, str], ...] = (
    {"tambourine": "x.xx"},
    {"stick": "x.xx"},
    {"stick": "o.x.x.x."},
    {"shaker": "xxxx"},
)
