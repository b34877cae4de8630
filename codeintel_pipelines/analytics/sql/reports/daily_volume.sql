-- Requests of each day by operation and face, and how they ended.
SELECT day, operation, surface, count(*) AS requests, count(DISTINCT nullif(session_id, '')) AS sessions,
       count(*) FILTER (status = 'ok') AS ok, count(*) FILTER (status = 'empty') AS empty,
       count(*) FILTER (status = 'error') AS errors, count(*) FILTER (status = 'cancelled') AS cancelled
FROM answers GROUP BY ALL ORDER BY day, operation, surface
