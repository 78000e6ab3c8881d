"""Row J5: key terms, of prose and of source code."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.specialists.language.terms import key_terms


def terms(text: str, *, language: str = "en", top: int = 10, code: bool = False) -> list[str]:
    return [term.text for term in key_terms(text, language=language, top=top, code=code)]


def test_words_without_meaning_of_their_own_are_left_out() -> None:
    assert terms("The engine of the car is in the car.") == ["car", "engine"]


def test_singular_and_plural_are_one_term() -> None:
    (term,) = key_terms("Query the queries; a query, QUERIES.", language="en")

    assert (term.text, term.count) == ("query", 4)


def test_a_repeated_pair_is_one_term_and_not_two_words() -> None:
    text = "The event loop runs. An event loop waits. Each event loop ends."

    assert terms(text)[0] == "event loop"
    assert "event" not in terms(text)
    assert "loop" not in terms(text)


def test_nouns_come_before_verbs_and_adverbs_of_the_same_count() -> None:
    assert terms("running quickly garden")[0] == "garden"


def test_no_more_than_asked_for_and_ties_keep_their_order() -> None:
    assert terms("pear apple fig plum", top=3) == ["pear", "apple", "fig"]
    assert terms("pear apple", top=0) == []


def test_identifiers_are_taken_apart_in_code_and_keywords_left_out() -> None:
    code = "def parseHeader(self, header_size):\n    return HTTPHeader(header_size)\n"

    assert set(terms(code, code=True)) >= {"header size", "header"}
    assert {"def", "self", "return"}.isdisjoint(terms(code, code=True))


def test_each_language_has_its_own_stop_words() -> None:
    assert terms("Der Hund und die Katze, der Hund.", language="de") == ["hund", "katze"]
    assert terms("Le chat et le chien, le chat.", language="fr") == ["chat", "chien"]


def test_scripts_without_spaces_give_pairs_of_characters() -> None:
    assert terms("机器学习。机器翻译。", language="zh")[0] == "机器"


def test_words_of_scripts_with_marks_stay_whole() -> None:
    assert terms("नमस्ते दुनिया", language="hi") == ["नमस्ते", "दुनिया"]


@given(st.text(max_size=400), st.integers(min_value=0, max_value=20))
def test_terms_are_unique_and_sorted_by_weight(text: str, top: int) -> None:
    found = key_terms(text, language="en", top=top)

    assert len(found) <= top
    assert len({term.text for term in found}) == len(found)
    assert [term.weight for term in found] == sorted((term.weight for term in found), reverse=True)
