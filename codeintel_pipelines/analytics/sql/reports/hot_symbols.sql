-- Symbols that answers cite and searches show most.
SELECT repo, symbol, count(*) FILTER (cited) AS cited, count(*) AS shown, count(DISTINCT trace_id) AS requests
FROM candidates WHERE symbol <> '' GROUP BY repo, symbol ORDER BY cited DESC, shown DESC, repo, symbol LIMIT 1000
