-- Answers that cite a file which has changed since: its blob then, and in the served generation now ('' when gone).
SELECT c.trace_id, c.run_id, c.asked_at, c.query, c.citation, c.repo, c.path, c.start_line, c.end_line, c."commit",
       c.blob AS cited_blob, coalesce(f.blob, '') AS current_blob
FROM citations c LEFT JOIN files f ON f.repo = c.repo AND f.path = c.path
WHERE c.repo IN (SELECT repo FROM generations WHERE is_served) AND c.blob IS DISTINCT FROM f.blob
ORDER BY c.asked_at DESC, c.trace_id, c.citation
