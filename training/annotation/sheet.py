"""A page on which a person checks what agents said of a sample of clips. One HTML file; it asks nothing of the network.

Five questions a clip, those of the method's own check: do the audio, visual and text clues hold, is the reasoning sound, is the conclusion
right? Answers stay in the browser until they are saved as a CSV: checker, video_id, and a column an aspect: yes, no, or empty where it
cannot be said.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

ASPECTS: Mapping[str, str] = {
    "audio": "Is what is said of the voice right?",
    "visual": "Is what is said of the picture right?",
    "text": "Is what is said of the words right?",
    "reasoning": "Does the reasoning follow from the clues?",
    "inference": "Is the conclusion right?",
}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; media-src file: 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
article {{ border-top: 1px solid #bbb; padding: 1rem 0; }}
video, audio {{ max-width: 24rem; max-height: 20rem; display: block; }}
dt {{ font-weight: bold; }} dd {{ margin: 0 0 .5rem; white-space: pre-wrap; }}
fieldset {{ border: 0; padding: 0; margin: .25rem 0; }} legend {{ float: left; width: 24rem; }}
.fabricated {{ background: #fdd; padding: .5rem; font-weight: bold; }}
#bar {{ position: sticky; top: 0; background: #fff; padding: .5rem 0; }}
</style></head><body>
<h1>{title}</h1>{watermark}
<div id="bar"><label>Your name <input id="checker" autocomplete="off"></label>
<button id="save" type="button">Save answers as CSV</button> <span id="count"></span></div>
{articles}
<script>
const aspects = {aspects}, ids = {ids}, key = "check-sheet-{key}";
const answers = JSON.parse(localStorage.getItem(key) || "{{}}");
const checker = document.getElementById("checker");
checker.value = answers.checker || "";
function keep() {{
  answers.checker = checker.value;
  localStorage.setItem(key, JSON.stringify(answers));
  const done = ids.filter((_, i) => aspects.every(a => i + "-" + a in answers)).length;
  document.getElementById("count").textContent = done + " of " + ids.length + " clips answered";
}}
for (const input of document.querySelectorAll("input[type=radio]")) {{
  input.checked = answers[input.name] === input.value;
  input.addEventListener("change", () => {{ answers[input.name] = input.value; keep(); }});
}}
checker.addEventListener("input", keep);
const cell = text => '"' + String(text).replace(/"/g, '""') + '"';
document.getElementById("save").addEventListener("click", () => {{
  const rows = ids.map((id, i) => [checker.value || "somebody", id, ...aspects.map(a => answers[i + "-" + a] || "")]);
  const text = [["checker", "video_id", ...aspects], ...rows].map(row => row.map(cell).join(",")).join("\\r\\n") + "\\r\\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {{type: "text/csv"}}));
  link.download = "checked-" + (checker.value || "somebody").replace(/[^\\w-]/g, "_") + ".csv";
  link.click();
}});
keep();
</script></body></html>
"""


def sample_of(items: Sequence[Mapping[str, Any]], count: int, seed: int) -> list[Mapping[str, Any]]:
    """`count` annotations with a reasoning, every label in turn, so that rare ones are checked too; drawn by `seed`, in a mixed order."""
    by_label: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for item in items:
        if any((finding or {}).get("text") for finding in item["findings"].values()):
            by_label[str(item["label"])].append(item)
    rng = random.Random(seed)
    piles = [rng.sample(pile, len(pile)) for _, pile in sorted(by_label.items())]
    chosen: list[Mapping[str, Any]] = []
    while len(chosen) < count and any(piles):
        chosen += [pile.pop() for pile in piles if pile][: count - len(chosen)]
    return rng.sample(chosen, len(chosen))


def sheet_html(items: Sequence[Mapping[str, Any]], folder: Path, title: str = "Check of annotations") -> str:
    """The page for these annotations; media are linked relative to `folder`, in which it will lie."""
    fabricated = any((item.get("provenance") or {}).get("fabricated") for item in items)
    ids = [str(item["video_id"]) for item in items]
    return _PAGE.format(
        title=html.escape(title),
        watermark='<p class="fabricated">FABRICATED DATA: these clips were made up by a program.</p>' if fabricated else "",
        articles="\n".join(_article(i, item, folder) for i, item in enumerate(items)),
        aspects=_script(list(ASPECTS)),
        ids=_script(ids),
        key=hashlib.sha256("\n".join(ids).encode("utf-8", "surrogatepass")).hexdigest()[:12],
    )


def _script(value: object) -> str:
    """JSON that cannot end the script it stands in."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _article(place: int, item: Mapping[str, Any], folder: Path) -> str:
    findings = item["findings"]
    units = ", ".join((item.get("expression") or {}).get("active") or {}) or "none"
    told = {
        "label": item["label"] or "none",
        "what was said": item["transcript"] or "nothing",
        "action units": units,
        **{slot: (finding or {}).get("text") or f"({(finding or {}).get('status', 'none')})" for slot, finding in findings.items()},
    }
    terms = "".join(f"<dt>{html.escape(str(name))}</dt><dd>{html.escape(str(text))}</dd>" for name, text in told.items())
    questions = "".join(_question(f"{place}-{aspect}", text) for aspect, text in ASPECTS.items())
    return f"<article><h2>{html.escape(str(item['video_id']))}</h2>{_media(item, folder)}<dl>{terms}</dl>{questions}</article>"


def _media(item: Mapping[str, Any], folder: Path) -> str:
    kind = "video" if item.get("video") else "audio"
    if not item.get(kind):
        return ""
    place = os.path.relpath(Path(str(item[kind])).resolve(), folder.resolve())
    return f'<{kind} controls preload="none" src="{html.escape(quote(place))}"></{kind}>'


def _question(name: str, text: str) -> str:
    options = "".join(
        f'<label><input type="radio" name="{name}" value="{value}"> {said}</label> '
        for value, said in (("yes", "yes"), ("no", "no"), ("", "cannot say"))
    )
    return f"<fieldset><legend>{html.escape(text)}</legend>{options}</fieldset>"
