-- One row per hit and channel that found it; `is_only` when no other channel did.
SELECT trace_id, day, operation, rank, cited, channel, channel_rank,
       count(*) OVER (PARTITION BY trace_id, chunk_id) = 1 AS is_only
FROM (
    SELECT * FROM candidates UNPIVOT (channel_rank FOR channel IN (dense_rank AS dense, lexical_rank AS lexical))
)
WHERE channel_rank > 0
