"""Views of reference data as of a time: facts and restatements, continuous futures, the kinds of company events."""
