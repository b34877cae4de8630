-- Feedback that does not count (yet): its run has not arrived, or its caller does not see what that searched.
SELECT feedback_id, given_at, run_id, kind, citation FROM feedback_given ANTI JOIN feedback USING (feedback_id)
