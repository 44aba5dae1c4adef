"""Runs jobs: a Celery worker whose tasks supervise one child process per job.

This process imports no torch and decodes no uploads: whatever touches either runs in a child with limits
(:mod:`worker.child`, :mod:`worker.inspect_child`).
"""
