"""The whole analysis: language, code, hostile input, speed."""

import argparse
import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.specialists.language import analyze
from meshd.specialists.language.code import is_code, prose_of
from meshd.specialists.language.handler import analyze_text


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "The meeting was moved to Friday because nobody could come."),
        ("de", "Das Treffen wurde auf Freitag verschoben, weil niemand kommen konnte."),
        ("fr", "La réunion a été reportée à vendredi parce que personne ne pouvait venir."),
        ("es", "La reunión se aplazó al viernes porque nadie podía venir."),
        ("it", "La riunione è stata spostata a venerdì perché nessuno poteva venire."),
        ("pt", "A reunião foi adiada para sexta-feira porque ninguém podia vir."),
        ("nl", "De vergadering werd naar vrijdag verplaatst omdat niemand kon komen."),
        ("pl", "Spotkanie przeniesiono na piątek, ponieważ nikt nie mógł przyjść."),
        ("ru", "Встречу перенесли на пятницу, потому что никто не мог прийти."),
        ("zh", "会议改到星期五，因为没有人能来。"),
        ("ja", "誰も来られなかったので、会議は金曜日に変更されました。"),
        ("ar", "تم تأجيل الاجتماع إلى يوم الجمعة لأنه لم يستطع أحد الحضور."),
        ("hi", "बैठक शुक्रवार को स्थानांतरित कर दी गई क्योंकि कोई नहीं आ सका।"),
    ],
)
def test_the_language_is_detected(code: str, text: str) -> None:
    assert analyze(text).language.code == code


@pytest.mark.parametrize("text", ["", "12345 !!!", "ok", "https://example.com/the/only/thing", "👍👍👍"])
def test_too_little_to_tell_the_language_is_said(text: str) -> None:
    assert analyze(text).language.code == "und"


def test_the_feeling_of_other_languages_is_not_guessed() -> None:
    assert analyze("Das ist wirklich ein schönes Haus mit einem großen Garten.").sentiment is None


def test_of_code_the_comments_are_judged_and_not_the_identifiers() -> None:
    code = 'import os\n\ndef kill_bad_child(evil):\n    """Return a wonderful result."""\n    # a day\n    return os\n'

    analysis = analyze(code)

    assert is_code(code)
    assert prose_of(code) == "Return a wonderful result.\n\na day"
    assert (analysis.sentiment is not None, analysis.sentiment and analysis.sentiment.blame) == (True, 0.0)


def test_prose_is_not_taken_for_code() -> None:
    assert not is_code("This is a letter.\nIt has lines, and a few of them; that is all.\n\nYours,\nAnn\n")


def test_the_handler_returns_plain_json_and_the_name_it_was_given() -> None:
    result = analyze_text(text="It is not good. Mail a@b.io.", name="note.txt", top=3)

    assert json.loads(json.dumps(result)) == result
    assert (result["name"], result["sentiment"]["label"], result["emails"]) == ("note.txt", "negative", ["a@b.io"])
    assert (result["counts"]["words"], result["counts"]["sentences"]) == (6, 2)


@pytest.mark.parametrize(
    "unit", ["a", "@", ".", "!", "1", "12 ", "(", "a@", "http://a/) ", "not ", "# ", '"""', "\n \n"]
)
def test_long_lines_of_anything_take_time_in_proportion(unit: str) -> None:
    began = time.perf_counter()

    analyze(unit * (300_000 // len(unit)))

    assert time.perf_counter() - began < 5


def test_a_source_file_of_50_kb_takes_a_few_hundredths_of_a_second() -> None:
    text = (Path(argparse.__file__).read_text(encoding="utf-8") * 2)[:50_000]
    analyze(text)
    times: list[float] = []
    for _ in range(5):
        began = time.process_time()
        analyze(text)
        times.append(time.process_time() - began)

    assert min(times) < 0.2, f"{min(times):.3f} s; expected about 0.04 s on a quiet machine"


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=500))
def test_any_text_can_be_analysed(text: str) -> None:
    assert json.dumps(analyze(text).as_dict())
