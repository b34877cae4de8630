-- Queries that found nothing, most asked first.
SELECT query_digest, any_value(query) AS query, any_value(query_kind) AS query_kind, count(*) AS asked,
       max(asked_at) AS last_asked_at, any_value(scope) AS scope
FROM answers WHERE status = 'empty' GROUP BY query_digest ORDER BY asked DESC, query_digest
