"""Whether a question's claims fit its numbers."""

import json
import string

from vicreg_nb.book import Numbers, all_questions


def assert_claims_hold_up(questions, old=False):
    """Each claim of every question fits these numbers: its condition can be asked, its fields are there.

    old: the numbers are of other code, so up to half of all claims may ask for some that are not there.
    """
    absent, count = [], 0
    for name, entry in questions.items():
        numbers, claims, before = as_attributes(entry["numbers"]), all_questions()[name].claims, len(absent)
        count += len(claims)
        for when, text in claims:
            try:
                holds = when is None or when(numbers)
                fields = [field for _, field, _, _ in string.Formatter().parse(text) if field]
                values = [string.Formatter().get_field(field, (), numbers)[0] for field in fields]
                if holds or None not in values:  # None: a number that is not finite, of which `when` may keep clear
                    text.format(**numbers)
            except (AttributeError, KeyError) as error:
                if not old or isinstance(error, AttributeError) and "there is no number" not in str(error):
                    raise
                absent.append(str(error))
        assert len(absent) > before or all_questions()[name].answer(entry["numbers"]), name
    assert len(absent) <= count / 2, f"{count} claims, but {absent}"


def claims_made(question, numbers, field):
    """How many of the claims that show a number, such as "lost.interval", hold."""
    numbers = as_attributes(numbers)
    return sum(when is None or bool(when(numbers)) for when, text in question.claims if f"{{{field}:" in text)


def as_attributes(numbers):
    """Numbers as results.json has them, and as claims ask for them."""
    return json.loads(json.dumps(numbers), object_hook=Numbers)
