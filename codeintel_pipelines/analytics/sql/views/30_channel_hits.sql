-- One row per hit and channel that found it, with its rank and score there; `is_only` when no other channel did.
SELECT trace_id, run_id, day, operation, chunk_id, repo, path, rank, cited, found.channel AS channel,
       found.rank AS channel_rank, found.score AS channel_score, len(channels) = 1 AS is_only
FROM (SELECT *, unnest(channels) AS found FROM candidates)
