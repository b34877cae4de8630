-- Milliseconds of each stage by day: median, p95 and p99 of the steps that ran, and the share that did not complete.
SELECT day, operation, stage, count(*) AS steps,
       quantile_cont(ms, .5) FILTER (status <> 'skipped') AS p50_ms,
       quantile_cont(ms, .95) FILTER (status <> 'skipped') AS p95_ms,
       quantile_cont(ms, .99) FILTER (status <> 'skipped') AS p99_ms,
       avg((status = 'skipped')::INT) AS skipped_share,
       avg((status IN ('failed', 'timed_out', 'cancelled'))::INT) AS failed_share
FROM (
    SELECT day, operation, stage, status, ms FROM stages
    UNION ALL
    SELECT day, operation, 'total', 'completed', total_ms FROM answers
)
GROUP BY ALL ORDER BY day, operation, stage
