"""Triage of whole archives: find images, judge each in a process of its own, keep what came out.

``discover`` says what there is, ``worker`` judges one file, ``process`` and ``local`` keep workers in
bounds, ``cluster`` does the same on other machines, ``store`` keeps results, ``run`` ties them together.
"""
