-- One row per search and answer, without the nested lists; total_ms is its whole latency.
SELECT * EXCLUDE (stages, candidates, latency_ms, lags), latency_ms['total'] AS total_ms,
       asked_at::DATE AS day, [g.gen_id FOR g IN generations] AS gen_ids
FROM traces
