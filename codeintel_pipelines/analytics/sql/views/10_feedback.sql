-- One row of `feedback_given` that counts; of a run unknown where it was given, once the run is here and its caller sees it.
WITH seen AS (  -- an id may be used again: the caller must see what every request of it searched; the last one counts
    SELECT f.feedback_id, list_filter(arg_max(t.candidates, t.asked_at), lambda hit: hit.citation = f.citation)[1] AS cited
    FROM feedback_given f JOIN traces t USING (run_id) WHERE len(f.sees) > 0
    GROUP BY f.feedback_id, f.citation
    HAVING bool_and((len(t.generations) > 0 OR list_contains(f.sees, '*')) AND len(list_filter(t.generations,
        lambda one: len(list_filter(f.sees, lambda pattern: one.repo GLOB pattern)) = 0)) = 0)
)
SELECT f.* EXCLUDE (sees) FROM feedback_given f WHERE len(f.sees) = 0
UNION ALL
SELECT f.* EXCLUDE (sees)
    REPLACE (if(f.citation > 0, seen.cited.repo, '') AS repo, if(f.citation > 0, seen.cited.path, '') AS path)
FROM feedback_given f JOIN seen USING (feedback_id) WHERE f.citation = 0 OR seen.cited IS NOT NULL
