"""The parts of :func:`fqt_core.convert.convert_`: what may be converted, what feeds a sign, and the report."""
