-- One row per hit of a request; `channels` lists the rank and score in each channel that found it.
SELECT trace_id, run_id, asked_at, asked_at::DATE AS day, operation, query, unnest(candidates, max_depth := 2)
FROM traces
