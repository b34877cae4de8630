-- One row per hit of a request, with its rank and score in each channel (rank 0: not found there).
SELECT trace_id, run_id, asked_at, asked_at::DATE AS day, operation, query, unnest(candidates, recursive := true)
FROM traces
