"""What the commands of `codeintel tuning` print."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial

from codeintel_core.errors import InvalidRequest
from codeintel_core.home import Home
from codeintel_core.objects import shared
from codeintel_core.retrieval import tuning
from codeintel_core.retrieval.tuning import Tunings
from codeintel_core.settings import Settings
from codeintel_pipelines.learning import learn


def status(home: Home, as_json: bool) -> None:
    """The tuning that counts, those that are kept, and the last proposal with its verdict."""
    now, held, last = Tunings(home)(), tuning.held(home).exists(), learn.last_proposal(home)
    if as_json:
        found = {
            "tuning_id": now.tuning_id,
            "factors": now.factors,
            "pairs": now.pairs.count,
            "problem": now.problem,
            "is_held": held,
        }
        print(json.dumps({**found, "kept": tuning.kept(home), "proposal": asdict(last) if last else None}))
        return
    print(f"tuning: {now.problem or now.tuning_id or 'the default weights'}")
    for kind, factors in now.factors.items():
        print(f"  {kind}: " + ", ".join(f"{name} x {factor:g}" for name, factor in factors.items()))
    if now.pairs.count:
        print(f"  files opened together: {now.pairs.count} neighbours, weight {now.pairs.weight:g}")
    if held:
        print("  promotions are held back: a person rolled back; `codeintel tuning resume` allows them again")
    for tuning_id in tuning.kept(home):
        print(f"  kept {tuning_id}" + (" (counts)" if tuning_id == now.tuning_id else ""))
    if last is None:
        print("  no proposal yet: `codeintel tuning learn`")
    else:
        print(f"  last proposal: {'; '.join(last.reasons) or f'{last.factors}, passed its check'}")
        if last.pair_reasons and not last.reasons:
            print(f"    its pairs of files are left out: {'; '.join(last.pair_reasons)}")


def rollback(home: Home, settings: Settings, tuning_id: str, defaults: bool, as_json: bool) -> None:
    """Point at an older document, or at none."""
    if tuning_id and defaults:
        raise InvalidRequest("give the id of a tuning document, or --defaults")
    now = tuning.roll_back(home, "" if defaults else tuning_id or None, partial(shared.announce_files, settings))
    if as_json:
        print(json.dumps({"tuning_id": now, "is_held": True}))
    else:
        print(f"tuning: {now or 'the default weights'}; nothing is promoted until `codeintel tuning resume`")


def resume(home: Home, settings: Settings, as_json: bool) -> None:
    """Allow promotions again."""
    was_held = tuning.resume(home, partial(shared.announce_files, settings))
    if as_json:
        print(json.dumps({"was_held": was_held}))
    else:
        print("promotions are allowed again" if was_held else "nothing was held back")
