"""The style and the script of a rollout's page; both are in the page itself."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --bg: #f6f7f9; --card: #fff; --text: #1a1f29; --soft: #5b6472; --line: #dfe3e9; --track: #eef0f4;
  --good: #178a4c; --bad: #c9252d; --back: #b45309; --refuse: #a21caf; --info: #2563c9;
  --staging: #3b82f6; --staged: #a9cbfb; --draining: #c4a7f5; --rebooting: #8b5cf6;
  --checking: #0ea5b7; --undraining: #7bdbe6; --reverting: #f59e0b; --deferred: #b6bdc9;
  --shadow: 0 1px 2px rgb(20 25 40 / .06), 0 1px 6px rgb(20 25 40 / .05);
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #12151b; --card: #1b2028; --text: #e7eaf0; --soft: #9aa4b4; --line: #2d3440;
    --track: #252b36; --good: #4ccb85; --bad: #ff7b7f; --back: #f0a54a;
    --refuse: #e58be8; --info: #7eb0ff; --staged: #2f5288; --deferred: #596373; --shadow: none;
  }
}
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100% }
body { margin: 0; background: var(--bg); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif }
main { max-width: 78rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.45rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .7rem }
h2 small { color: var(--soft); font-weight: 400; font-size: .85rem; margin-left: .4rem }
h4 { font-size: .8rem; margin: .9rem 0 .25rem; color: var(--soft); font-weight: 600 }
p { margin: .3rem 0 }
code, pre, .name { font-family: ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace;
  font-size: .86em }
code { overflow-wrap: anywhere }
pre { margin: 0; padding: .6rem .75rem; background: var(--track); border-radius: .4rem;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8rem; line-height: 1.45 }
.soft { color: var(--soft) }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  box-shadow: var(--shadow); padding: 1rem 1.1rem }
.head { display: flex; flex-wrap: wrap; gap: .5rem .8rem; align-items: center; margin-bottom: 1rem }
.badge { display: inline-block; padding: .1rem .6rem; border-radius: 1rem; font-size: .78rem;
  font-weight: 600; border: 1px solid currentColor; white-space: nowrap }
.updated, .unchanged, .done { color: var(--good) }
.failed, .halted, .halting, .aborted, .left-behind { color: var(--bad) }
.refused { color: var(--refuse) }
.rolled-back, .paused { color: var(--back) }
.running, .staging, .staged, .draining, .rebooting, .checking, .undraining, .reverting
  { color: var(--info) }
.skipped, .pending, .deferred, .waiting, .stopped, .not-begun { color: var(--soft) }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr));
  gap: .8rem 1.2rem; margin: 0 }
.facts > div { min-width: 0 }
.facts dt { color: var(--soft); font-size: .78rem }
.facts dd { margin: 0; overflow-wrap: anywhere }
.facts .wide { grid-column: 1 / -1 }
.bar { display: flex; height: .8rem; border-radius: .4rem; overflow: hidden;
  background: var(--track); margin: 1rem 0 .5rem }
.bar i { background: currentColor; min-width: 3px; border-right: 1px solid var(--card) }
.bar i.pending, .bar i.skipped { opacity: .35 }
.bar i.unchanged, .keys i.unchanged { opacity: .5 }
.keys { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .82rem; margin: 0; padding: 0;
  list-style: none }
.keys i { display: inline-block; width: .75rem; height: .75rem; border-radius: .2rem;
  margin-right: .35rem; vertical-align: -.08rem; background: currentColor }
details { border-bottom: 1px solid var(--line) }
details:last-child { border-bottom: 0 }
summary { cursor: pointer; padding: .65rem 0; overflow-wrap: anywhere }
summary:focus-visible, input:focus-visible, select:focus-visible
  { outline: 2px solid var(--info); outline-offset: 2px; border-radius: .2rem }
.wave details { border: 0 }
.wave details > summary { padding: .35rem 0; color: var(--soft); font-size: .88rem }
.list { padding-top: .2rem; padding-bottom: .2rem }
.failure > div { padding: 0 0 1rem 1.1rem }
.failure .why { margin-left: 1.1rem; display: block }
.pairs { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem 1rem;
  margin: .6rem 0 0; font-size: .88rem }
.pairs dt { color: var(--soft) }
.pairs dd { margin: 0; overflow-wrap: anywhere }
.steps { display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: 0; padding: 0; list-style: none;
  font-size: .85rem }
.waves { display: grid; gap: .9rem }
.waves .top { display: flex; flex-wrap: wrap; gap: 0 .8rem; align-items: baseline }
.waves .bar { margin: .3rem 0 .2rem; height: .55rem }
.tools { display: flex; flex-wrap: wrap; gap: .5rem 1.2rem; align-items: center;
  margin-bottom: .7rem; font-size: .88rem }
.filters { display: flex; flex: 1 1 22rem; flex-wrap: wrap; gap: .5rem .6rem; align-items: center;
  min-width: 0 }
input[type=search], select { font: inherit; color: inherit; background: var(--card);
  border: 1px solid var(--line); border-radius: .4rem; padding: .3rem .6rem; max-width: 100% }
input[type=search] { flex: 1 1 12rem; min-width: 0 }
[hidden] { display: none !important }
.row, .axis { display: grid; grid-template-columns: minmax(8rem, 17rem) minmax(0, 1fr) 8.5rem;
  gap: 0 .8rem; align-items: center; padding: .12rem 0 }
.row .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.row .end { font-size: .8rem; white-space: nowrap }
.track { position: relative; height: 1rem; background: var(--track); border-radius: .25rem;
  overflow: hidden }
.track i { position: absolute; top: 0; bottom: 0; background: var(--c, transparent); min-width: 1px;
  left: calc((var(--a) - var(--s)) / var(--n) * 100%);
  width: calc((var(--b) - var(--a)) / var(--n) * 100%) }
.track b { position: absolute; top: 0; bottom: 0; width: 4px; background: currentColor;
  left: clamp(0px, calc((var(--a) - var(--s)) / var(--n) * 100%), calc(100% - 4px)) }
.s-staging { --c: var(--staging) } .s-staged { --c: var(--staged) }
.s-draining { --c: var(--draining) } .s-rebooting { --c: var(--rebooting) }
.s-checking { --c: var(--checking) } .s-undraining { --c: var(--undraining) }
.s-reverting { --c: var(--reverting) } .s-baking { --c: var(--draining) }
.s-deferred, .s-waiting { --c: var(--deferred) }
.keys i[class^=s-] { background: var(--c) }
.axis { font-size: .72rem; color: var(--soft); height: 1.3rem }
.axis div { position: relative; height: 100%; overflow: hidden }
.axis u { position: absolute; text-decoration: none; border-left: 1px solid var(--line);
  padding-left: .25rem; white-space: nowrap; top: .1rem }
.axis .own { display: none }
body:has(#own:checked) .wave { --s: var(--ws); --n: var(--wn) }
body:has(#own:checked) .axis .own { display: block }
body:has(#own:checked) .axis .all { display: none }
.moments { margin: 0; padding: 0; list-style: none }
.moments li { display: grid; grid-template-columns: 12.5rem 11rem minmax(0, 1fr); gap: 0 .8rem;
  padding: .4rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere }
.moments li:last-child { border-bottom: 0 }
.moments time { color: var(--soft); font-variant-numeric: tabular-nums }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .8rem }
@media (max-width: 640px) {
  main { padding: 1rem .75rem 3rem }
  .card { padding: .8rem }
  .facts { grid-template-columns: repeat(2, minmax(0, 1fr)) }
  .row { grid-template-columns: minmax(0, 1fr) auto; padding: .3rem 0 }
  .row .track { grid-column: 1 / -1; grid-row: 2 }
  .axis { grid-template-columns: minmax(0, 1fr) }
  .axis > span { display: none }
  .axis u:nth-child(even) { display: none }
  .moments li { grid-template-columns: minmax(0, 1fr) }
  .pairs { grid-template-columns: minmax(0, 1fr) }
  .pairs dd { margin-bottom: .4rem }
  .failure > div, .failure .why { padding-left: 0; margin-left: 0 }
}
@media print {
  :root { color-scheme: light }
  body { background: none; font-size: 11px }
  main { max-width: none; padding: 0 }
  .card { box-shadow: none; break-inside: auto }
  .tools { display: none }
  .row, .failure, .moments li { break-inside: avoid }
  .track, .bar, .keys i { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  details::details-content { content-visibility: visible; height: auto }
}
"""

SCRIPT = """
(() => {
  "use strict";
  const text = document.getElementById("filter");
  const phase = document.getElementById("phase");
  const said = document.getElementById("matches");
  const waves = Array.from(document.querySelectorAll(".wave"), (wave) => ({
    wave,
    rows: Array.from(wave.querySelectorAll(".row")),
    parts: [wave, ...wave.querySelectorAll("details")].map((part) => ({part, open: part.open})),
  }));
  if (text) {
    text.closest(".filters").hidden = false;
    const all = waves.reduce((sum, one) => sum + one.rows.length, 0);
    const apply = () => {
      const words = text.value.toLowerCase().split(/\\s+/).filter(Boolean);
      const only = phase.value;
      let found = 0;
      for (const one of waves) {
        let here = 0;
        for (const row of one.rows) {
          const fits = (!only || row.dataset.phase === only) &&
            words.every((word) => row.dataset.text.includes(word));
          row.hidden = !fits;
          here += fits ? 1 : 0;
        }
        one.wave.hidden = here === 0;
        for (const {part, open} of one.parts) part.open = words.length || only ? true : open;
        found += here;
      }
      said.textContent = found === all ? all + " hosts" : found + " of " + all + " hosts";
    };
    text.addEventListener("input", apply);
    phase.addEventListener("change", apply);
    apply();
  }
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = Array.from(document.querySelectorAll("details:not([open])"));
    for (const one of closed) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of closed) one.open = false;
  });
})();
"""
