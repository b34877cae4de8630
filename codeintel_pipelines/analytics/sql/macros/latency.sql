-- Percentiles of one stage over the last days: FROM latency('retrieve.dense', 7)
(of_stage, days) AS TABLE
SELECT count(*) AS steps, quantile_cont(ms, .5) AS p50_ms, quantile_cont(ms, .95) AS p95_ms, max(ms) AS max_ms
FROM stages WHERE stage = of_stage AND status <> 'skipped' AND asked_at >= now() - to_days(days::INTEGER)
