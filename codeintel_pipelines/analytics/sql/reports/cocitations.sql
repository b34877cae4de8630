-- Files that the same answers cite: how often together, and how much more often than by chance (lift).
WITH cited AS MATERIALIZED (SELECT DISTINCT trace_id, repo, path FROM candidates WHERE cited),
     each AS (SELECT repo, path, count(*) AS n FROM cited GROUP BY ALL),
     answered AS (SELECT count(DISTINCT trace_id) AS n FROM cited)
SELECT a.repo, a.path AS path_a, b.path AS path_b, count(*) AS together,
       count(*) * any_value(answered.n) / (any_value(ea.n) * any_value(eb.n)) AS lift
FROM cited a JOIN cited b ON a.trace_id = b.trace_id AND a.repo = b.repo AND a.path < b.path
JOIN each ea ON ea.repo = a.repo AND ea.path = a.path
JOIN each eb ON eb.repo = b.repo AND eb.path = b.path, answered
GROUP BY a.repo, a.path, b.path HAVING count(*) > 1 ORDER BY together DESC, lift DESC, path_a, path_b LIMIT 10000
