-- Service levels by day: answered without error, and within the request's own budget; what is left of the error budget.
WITH good AS (
    SELECT day, 'no error' AS objective, .995 AS target, status <> 'error' AS is_good FROM answers WHERE status <> 'cancelled'
    UNION ALL
    SELECT day, 'first token in budget', .95,
           coalesce(nullif(time_to_first_token_ms, 'NaN'), total_ms) <= total_budget_ms
    FROM answers WHERE operation = 'answer' AND status IN ('ok', 'empty')
    UNION ALL
    SELECT day, 'search in budget', .95, total_ms <= total_budget_ms
    FROM answers WHERE operation = 'search' AND status IN ('ok', 'empty')
    UNION ALL
    SELECT day, 'nothing degraded', .9, len(limits) = 0 FROM answers WHERE status IN ('ok', 'empty')
)
SELECT day, objective, target, count(*) AS requests, count(*) FILTER (is_good) AS good, avg(is_good::INT) AS attainment,
       1 - (1 - avg(is_good::INT)) / (1 - target) AS error_budget_left
FROM good GROUP BY day, objective, target ORDER BY day, objective
