"""Boosted trees for tables: reading CSV and Parquet, growing trees with quantised gradients, predicting.

Imports no torch; LightGBM is loaded by what grows or predicts (:mod:`.boosting`, :mod:`.model`), Arrow by what reads.
"""
