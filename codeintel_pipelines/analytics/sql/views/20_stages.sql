-- One row per step of a request: its status, reason and milliseconds.
SELECT trace_id, run_id, asked_at, asked_at::DATE AS day, operation, stage.name AS stage, stage.status AS status,
       stage.reason AS reason, stage.start_ms AS start_ms, stage.ms AS ms
FROM (SELECT trace_id, run_id, asked_at, operation, unnest(stages) AS stage FROM traces)
