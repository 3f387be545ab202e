"""The tables of the store: what a row means, how it lies on disk, and how it is read back.

spec -> validation -> parts -> manifest -> read | sql
"""
