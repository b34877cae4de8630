-- Files that answers cite and searches show most.
SELECT repo, path, count(*) FILTER (cited) AS cited, count(*) AS shown, count(DISTINCT trace_id) AS requests,
       max(asked_at) AS last_asked_at
FROM candidates GROUP BY repo, path ORDER BY cited DESC, shown DESC, repo, path LIMIT 1000
