-- Questions whose answers were trusted little (mean confidence below .5), least trusted first.
SELECT query_digest, any_value(query) AS query, any_value(query_kind) AS query_kind, count(*) AS asked,
       avg(confidence) AS confidence, max(asked_at) AS last_asked_at
FROM answers WHERE operation = 'answer' AND NOT isnan(confidence)
GROUP BY query_digest HAVING avg(confidence) < .5 ORDER BY confidence, query_digest
