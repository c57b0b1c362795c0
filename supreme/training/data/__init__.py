"""What training reads: order, corpus, streams, labels, queries, reports."""
