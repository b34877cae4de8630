-- One row per file of a request that somebody judged: weight 1 (useful) to -1 (wrong); .3 when a read followed within 10 minutes.
WITH shown AS MATERIALIZED (
    SELECT trace_id, run_id, session_id, asked_at, hit.repo AS repo, hit.path AS path, min(hit.rank) AS rank,
           bool_or(hit.cited) AS cited
    FROM (SELECT trace_id, run_id, session_id, asked_at, unnest(candidates) AS hit FROM traces
          WHERE run_id IN (SELECT run_id FROM feedback WHERE kind <> 'read')
             OR session_id IN (SELECT session_id FROM feedback WHERE kind = 'read' AND session_id <> ''))
    GROUP BY ALL
), said AS (  -- about one citation, or about the whole answer, which is half as much about each file it cites
    SELECT s.trace_id, s.repo, s.path, f.kind,
           CASE f.kind WHEN 'useful' THEN 1 WHEN 'opened' THEN 0.5 ELSE -1 END
           * CASE WHEN f.citation = 0 THEN 0.5 ELSE 1 END AS weight
    FROM feedback f JOIN shown s
      ON s.run_id = f.run_id AND CASE WHEN f.citation = 0 THEN s.cited ELSE s.repo = f.repo AND s.path = f.path END
    WHERE f.kind <> 'read'
), followed AS (  -- of several requests of the session that showed the file, the last one before the read
    SELECT s.trace_id, s.repo, s.path, f.kind, 0.3 AS weight
    FROM feedback f JOIN shown s
      ON s.session_id = f.session_id AND s.repo = f.repo AND s.path = f.path
         AND f.given_at BETWEEN s.asked_at AND s.asked_at + INTERVAL 10 MINUTE
    WHERE f.kind = 'read' AND f.session_id <> ''
    QUALIFY row_number() OVER (PARTITION BY f.feedback_id ORDER BY s.asked_at DESC, s.trace_id) = 1
), each AS (  -- what was said outweighs what was done
    SELECT trace_id, repo, path, list_sort(list(DISTINCT kind)) AS kinds,
           coalesce(avg(weight) FILTER (kind <> 'read'), max(weight))::DOUBLE AS weight
    FROM (FROM said UNION ALL FROM followed) GROUP BY ALL
)
SELECT trace_id, run_id, coalesce(nullif(session_id, ''), run_id) AS session_id, asked_at, repo, path, rank, kinds, weight
FROM each JOIN shown USING (trace_id, repo, path)
