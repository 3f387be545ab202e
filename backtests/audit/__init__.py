"""Does a decision read what was not public yet, or depend on where history starts?"""
