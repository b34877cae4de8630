-- How far the served index was behind its source when it answered.
SELECT day, repo, count(*) AS requests, avg((coalesce(minutes_behind, 0) = 0)::INT) AS fresh_share,
       quantile_cont(minutes_behind, .5) AS p50_minutes_behind, quantile_cont(minutes_behind, .95) AS p95_minutes_behind,
       max(commits_behind) AS most_commits_behind
FROM (SELECT asked_at::DATE AS day, unnest(lags, recursive := true) FROM traces)
GROUP BY day, repo ORDER BY day, repo
