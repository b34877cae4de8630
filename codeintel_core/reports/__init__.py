"""What a run did: its report, what stands out in it, and a file that takes both elsewhere."""
