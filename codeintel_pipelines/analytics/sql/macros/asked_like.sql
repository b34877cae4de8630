-- Requests whose query holds a text, whatever its case: FROM asked_like('publish')
(words) AS TABLE
SELECT asked_at, operation, query, status, confidence, total_ms, run_id FROM answers
WHERE contains(lower(query), lower(words)) ORDER BY asked_at DESC
