-- Symbols that answers cite and searches show most.
-- Requests are counted from one list of symbols per request, as in hot_files.
WITH hot AS (
         SELECT repo, symbol, count(*) FILTER (cited) AS cited, count(*) AS shown
         FROM candidates WHERE symbol <> '' GROUP BY repo, symbol
         ORDER BY cited DESC, shown DESC, repo, symbol LIMIT 1000),
     asked AS (
         SELECT named, count(*) AS requests
         FROM (SELECT unnest(list_distinct([struct_pack(repo := c.repo, symbol := c.symbol) FOR c IN candidates]))
                      AS named FROM traces)
         GROUP BY named)
SELECT repo, symbol, cited, shown, requests
FROM hot JOIN asked ON asked.named = struct_pack(repo := hot.repo, symbol := hot.symbol)
ORDER BY cited DESC, shown DESC, repo, symbol
