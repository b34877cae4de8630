-- The steps of one request, by its run id: FROM trace_of('…')
(run) AS TABLE SELECT stage, status, reason, start_ms, ms FROM stages WHERE run_id = run ORDER BY start_ms
