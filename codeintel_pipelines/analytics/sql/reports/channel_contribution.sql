-- What each channel found of the hits that were shown and cited, and what only it found.
SELECT day, operation, channel, count(*) AS hits, count(*) FILTER (is_only) AS only_hits,
       count(*) FILTER (rank = 1) AS first_hits, count(*) FILTER (cited) AS cited,
       count(*) FILTER (cited AND is_only) AS only_cited
FROM channel_hits GROUP BY ALL ORDER BY day, operation, channel
