-- How far answers could be trusted by day: confidence, citations that held or were dropped, and requests without a hit.
SELECT day, count(*) AS requests, count(*) FILTER (operation = 'answer') AS answers,
       avg(confidence) FILTER (operation = 'answer' AND NOT isnan(confidence)) AS confidence,
       quantile_cont(confidence, .1) FILTER (operation = 'answer' AND NOT isnan(confidence)) AS p10_confidence,
       sum(citations_verified) AS citations_verified, sum(citations_dropped) AS citations_dropped,
       avg((status = 'empty')::INT) AS zero_hit_share, avg((status = 'error')::INT) AS error_share
FROM answers GROUP BY day ORDER BY day
