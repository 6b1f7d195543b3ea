"""Short names of arguments mean what the long ones do."""

import pytest

from musiclm.training.short_names import SHORT, with_long_names


@pytest.mark.parametrize("name", SHORT)
def test_a_short_name_becomes_the_long_one_and_comes_last(name: str) -> None:
    for words in ([name, "x"], [f"{name}=x"]):
        given = ["fit", *words, "--config", "a.yaml"]
        assert with_long_names(given) == ["fit", "--config", "a.yaml", f"{SHORT[name]}=x"]


def test_what_has_no_short_name_stays_as_it_is() -> None:
    words = ["fit", "--config", "a.yaml", "--threads=1", "--data.init_args.tokens", "--outer", "x"]
    assert with_long_names(words) == words


@pytest.mark.parametrize("long", [["--trainer.default_root_dir", "a"], ["--trainer.default_root_dir=a"]])
def test_both_names_may_say_the_same_and_not_different_things(long: list[str]) -> None:
    assert with_long_names(["fit", "--out", "a/", *long])[-1] == "--trainer.default_root_dir=a/"
    with pytest.raises(ValueError, match=r"got --out b and --trainer\.default_root_dir a"):
        with_long_names(["fit", "--out", "b", *long])


@pytest.mark.parametrize("words", [["--out"], ["--out="], ["--out", "--tokens", "x"]])
def test_a_short_name_wants_a_folder(words: list[str]) -> None:
    with pytest.raises(ValueError, match="expected a folder after --out"):
        with_long_names(["fit", *words])
