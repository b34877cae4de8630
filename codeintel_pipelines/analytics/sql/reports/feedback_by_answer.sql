-- Answers that somebody judged: useful and wrong votes, and citations that were opened (weak approval).
SELECT t.trace_id, t.run_id, t.asked_at, t.query, t.model, t.confidence,
       count(*) FILTER (f.kind = 'useful') AS useful, count(*) FILTER (f.kind = 'wrong') AS wrong,
       count(*) FILTER (f.kind = 'opened') AS opened, list(DISTINCT f.note) FILTER (f.note <> '') AS notes
FROM feedback f JOIN answers t USING (run_id) GROUP BY ALL ORDER BY t.asked_at DESC, t.trace_id
