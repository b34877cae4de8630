-- Stages that were skipped, failed or ran out of time, as a share of the day's requests.
SELECT day, operation, stage, status, reason, count(DISTINCT trace_id) AS requests,
       count(DISTINCT trace_id) / any_value(asked) AS share
FROM stages JOIN (SELECT day, operation, count(*) AS asked FROM answers GROUP BY ALL) USING (day, operation)
WHERE status <> 'completed' GROUP BY ALL ORDER BY day, operation, requests DESC, stage, reason
