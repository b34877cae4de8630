-- Files that answers cite and searches show most.
-- Requests are counted from one list of files per request: a set of request ids per file would outgrow memory.
WITH hot AS (
         SELECT repo, path, count(*) FILTER (cited) AS cited, count(*) AS shown, max(asked_at) AS last_asked_at
         FROM candidates GROUP BY repo, path ORDER BY cited DESC, shown DESC, repo, path LIMIT 1000),
     asked AS (
         SELECT file, count(*) AS requests
         FROM (SELECT unnest(list_distinct([struct_pack(repo := c.repo, path := c.path) FOR c IN candidates])) AS file
               FROM traces)
         GROUP BY file)
SELECT repo, path, cited, shown, requests, last_asked_at
FROM hot JOIN asked ON asked.file = struct_pack(repo := hot.repo, path := hot.path)
ORDER BY cited DESC, shown DESC, repo, path
