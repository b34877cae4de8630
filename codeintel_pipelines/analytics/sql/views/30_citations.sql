-- One row per citation of an answer, with the generation, commit and Dagster run it came from.
SELECT c.trace_id, c.run_id, c.asked_at, c.day, c.query, c.citation, c.repo, c.path, c.symbol, c.start_line, c.end_line,
       c.blob, c.chunk_id, g.gen_id, g."commit", g.dagster_run_id
FROM candidates c
JOIN (SELECT trace_id, unnest(generations, recursive := true) FROM traces) g USING (trace_id, repo)
WHERE c.cited
