"""Report text to entities: statements, lexicon, assertions, vocabulary and the label table."""
