"""The parts of the documentation that are made from the code: ``make docs-reference`` writes them into ``docs/``.

settings.py  every key of the configuration     commands.py  every command, from its --help
statuses.py  exit statuses, runs, errors        metrics.py   metrics and alerts
python.py    the public names                   source.py    the columns of the source tables
pages.py     which part a page may ask for, and the pages that have such parts
table.py, enums.py: tables in Markdown, meanings of enums
links.py     links of the repository, as the site can follow them
"""
