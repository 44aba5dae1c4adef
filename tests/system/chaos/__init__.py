"""A nemesis for the whole service: real jobs under kills, stops, cut links, outages, full disks and clock jumps.

:mod:`.schedule` draws the faults from a seed, :mod:`.nemesis` brings them upon a :mod:`.cluster`, :mod:`.workload`
keeps it busy, :mod:`.history` judges what came of every accepted job. ``python -m tests.system.chaos`` runs it all.
"""
