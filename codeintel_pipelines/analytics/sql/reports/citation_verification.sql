-- Citations that were compared with the pinned source: verified, dropped, and answers without any.
SELECT day, model, count(*) AS answers, sum(citations_verified) AS verified, sum(citations_dropped) AS dropped,
       sum(citations_dropped) / nullif(sum(citations_verified + citations_dropped), 0) AS dropped_share,
       count(*) FILTER (citations_verified = 0) AS uncited
FROM answers WHERE operation = 'answer' AND status = 'ok' GROUP BY ALL ORDER BY day, model
