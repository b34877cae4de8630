-- What one answer costs by day: seconds of the server and the price of its tokens.
SELECT day, operation, count(*) AS requests, avg(total_ms) / 1000 AS seconds,
       avg(tokens_in / 1e6 * price_in + tokens_out / 1e6 * price_out) AS price
FROM answers, prices GROUP BY ALL ORDER BY day, operation
