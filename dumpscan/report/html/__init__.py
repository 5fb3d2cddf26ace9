"""HTML reports: one self-contained file each, for people who did not run dumpscan.

What every report is made of::

    page.py      the file itself: head, Content-Security-Policy, banner, sections, embedded document
    parts.py     tables, facts, notes, figures (templates/parts.html), with the escaping they rely on
    svg.py       elements and scales
    charts.py    bars, columns, curves, timeline, gauge, all inline SVG without script or style
    poolmap.py   the map of a pool by address
    verdict.py   the report of one image

Charts use percentages across and pixels down, so that their text stays readable on a telephone and
they take their colours from the page's style sheet, in light and dark. Everything that comes from a
memory image is escaped by markupsafe, and control and direction characters are shown (``\\u202e``).
"""
