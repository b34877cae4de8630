-- Tokens, throughput and price of generated answers by day and model.
SELECT day, model, count(*) AS answers, sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out,
       median(time_to_first_token_ms) FILTER (NOT isnan(time_to_first_token_ms)) AS first_token_p50_ms,
       median(tokens_per_second) FILTER (NOT isnan(tokens_per_second)) AS tokens_per_second_p50,
       sum(tokens_in) / 1e6 * price_in + sum(tokens_out) / 1e6 * price_out AS price
FROM answers, prices WHERE operation = 'answer' AND model <> ''
GROUP BY day, model, price_in, price_out ORDER BY day, model
