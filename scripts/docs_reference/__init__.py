"""The parts of the documentation that are made from the code.

settings.py  every key of the configuration     commands.py  every command, from its --help
statuses.py  exit statuses, runs, errors        metrics.py   metrics and alerts
python.py    the public names                   readme.py    sections of the README
markers.py   the table of what a page may ask for
table.py, enums.py: tables in Markdown, meanings of enums
links.py     links of the repository, as the site can follow them
"""

from docs_reference.markers import expand

__all__ = ["expand"]
