"""The commented configuration file that ``incident-process init`` writes, made from the descriptions of the keys."""

from collections.abc import Mapping

from incident_process.settings.key_docs import Key, keys
from incident_process.settings.keys import SECTIONS

_HEAD = """\
; incident-process: configuration
; Values are taken literally to the end of the line: no quotes, no escapes; %, ; and # are ordinary characters.
; A line that starts with ; or # is a comment. Commented keys show their default, or an example where there is none.
; Any key can be overridden by the environment: INCIDENT_PROCESS__SECTION__KEY
"""


def render(values: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """Return a configuration file with every key, one line on each, and its default.

    Args:
        values: The values to set, by section and key, names in any case; every other key is commented out. None sets
            an example, to be edited, for every key that a MySQL source with tracking = mongo needs.

    Raises:
        KeyError: There is no such section or key.
    """
    known = {(what.section, what.name): what for what in keys()}
    if values is None:
        chosen = {place: what.example for place, what in known.items() if what.needed and what.example}
        chosen["PROCESS", "tracking"] = "mongo"
    else:
        chosen = _folded(values, known)
    lines = [_HEAD]
    for section, model in SECTIONS.items():
        lines += [f"; {model.title}.", f"[{section.upper()}]"]
        for place, what in known.items():
            if what.section == section.upper():
                lines += _entry(what, chosen.get(place))
        lines.append("")
    return "\n".join(lines)


def _entry(what: Key, value: str | None) -> list[str]:
    notes = [note for note in (what.needed, what.default and f"default {what.default}") if note]
    comment = f"; {what.description}{f' ({notes[0]})' if notes else ''}"
    if value is not None:
        # The reader knows further lines of a value by their indentation.
        return [comment, f"{what.name} = " + value.replace("\n", "\n  ")]
    return [comment, f";{what.name} = {what.example if what.default is None else what.default}"]


def _folded(
    values: Mapping[str, Mapping[str, str]], known: Mapping[tuple[str, str], Key]
) -> dict[tuple[str, str], str]:
    spelling = {(section, name.lower()): name for section, name in known}
    return {
        (section.upper(), spelling[section.upper(), name.lower()]): value
        for section, content in values.items()
        for name, value in content.items()
    }
