"""A home in a bucket (`CODEINTEL_HOME=s3://bucket/prefix`): the bucket is the truth, the local folder works and caches.

Keys below the prefix:

    state/repos/<repo>/CURRENT              one line, moved by compare-and-swap
    state/repos/<repo>/repository.json, hold.json, pins/<gen_id>, state/purged.json, state/groups.json
    state/tuning/<id>.json, HELD, CURRENT    learned weights, and which of them count
    generations/<repo>/<gen_id>/mirror.json, manifest.sha256, manifest.json   immutable; the manifest is written last
    objects/<repo>/<sha256>                 immutable: files of generations and packs of the mirror, by digest
    state/PURGE                             changes with every purge
    followers/<id>                          a folder that follows, and the last purge that it carried out
    traces/<id>/<day>/<table>-<sha256>      immutable: rows that a machine handed over, until they are in the tables
    traces/COLLECTOR                        the machine that makes the tables
    dropped/<repo>/<gen_id>/manifest.json, mirror.json   of collected generations, while somebody may download them
"""
