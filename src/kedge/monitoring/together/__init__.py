"""Have the columns moved together, though each by itself stays where it was?

`principal` asks whether rows still lie near the few directions in which the baseline's columns go together;
`classifier` whether anything at all tells new rows from the baseline's.
"""
