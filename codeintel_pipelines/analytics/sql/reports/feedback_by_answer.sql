-- Requests that somebody judged: useful and wrong votes, citations that were opened and files that were read next (weak approval).
WITH said AS (
    SELECT run_id, count(*) FILTER (kind = 'useful') AS useful, count(*) FILTER (kind = 'wrong') AS wrong,
           count(*) FILTER (kind = 'opened') AS opened, list(DISTINCT note) FILTER (note <> '') AS notes
    FROM feedback WHERE kind <> 'read' GROUP BY run_id
), done AS (SELECT trace_id, count(*) AS read_next FROM judgements WHERE 'read' IN kinds GROUP BY trace_id)
SELECT t.trace_id, t.run_id, t.asked_at, t.query, t.model, t.confidence, coalesce(useful, 0) AS useful,
       coalesce(wrong, 0) AS wrong, coalesce(opened, 0) AS opened, coalesce(read_next, 0) AS read_next, notes
FROM answers t LEFT JOIN said USING (run_id) LEFT JOIN done USING (trace_id)
WHERE useful IS NOT NULL OR read_next IS NOT NULL ORDER BY t.asked_at DESC, t.trace_id
