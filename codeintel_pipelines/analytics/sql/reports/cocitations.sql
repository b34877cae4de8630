-- Files that the same answers cite: how often together, and how much more often than by chance (lift).
-- One list of files per answer, and a file as one value: joins by answer or by repository would be of everything with all.
WITH cited AS MATERIALIZED (
         SELECT list_sort(list_distinct([struct_pack(repo := c.repo, path := c.path) FOR c IN candidates IF c.cited]))
                AS files
         FROM traces WHERE len(list_filter(candidates, lambda c: c.cited)) > 0),
     each AS (SELECT file, count(*) AS n FROM (SELECT unnest(files) AS file FROM cited) GROUP BY file),
     answered AS (SELECT count(*) AS n FROM cited),
     pairs AS (
         SELECT a, b, count(*) AS together
         FROM (SELECT files[i] AS a, unnest(files[i + 1:]) AS b
               FROM (SELECT files, unnest(range(1, len(files))) AS i FROM cited))
         WHERE a.repo = b.repo GROUP BY a, b HAVING count(*) > 1)
SELECT a.repo AS repo, a.path AS path_a, b.path AS path_b, together, together * answered.n / (ea.n * eb.n) AS lift
FROM pairs JOIN each ea ON ea.file = a JOIN each eb ON eb.file = b, answered
ORDER BY together DESC, lift DESC, repo, path_a, path_b LIMIT 10000
