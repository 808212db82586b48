"""The markup of a rollout's page; `domain/rollout_page.py` fills it in."""

from __future__ import annotations

PAGE = """\
{% macro bar(counts, label) -%}
<div class="bar" role="img" aria-label="{{ label }}: \
{%- for one in counts %} {{ one.count }} {{ one.phase }}{% endfor %}">
{%- for one in counts -%}
<i class="{{ one.phase }}" style="flex:{{ one.count }}" title="{{ one.count }} {{ one.phase }}"></i>
{%- endfor -%}
</div>
{%- endmacro %}
{% macro keys(counts) -%}
<ul class="keys">
{%- for one in counts -%}
<li><i class="{{ one.phase }}"></i>{{ one.count }} {{ one.phase }}</li>
{%- endfor -%}
</ul>
{%- endmacro %}
{% macro row(one) -%}
<div class="row" data-phase="{{ one.phase }}" data-text="{{ one.text }}">
<span class="name" title="{{ one.host }}">{{ one.host }}</span>
<div class="track">
{%- for part in one.segments -%}
<i class="s-{{ part.phase }}" style="--a:{{ part.start }};--b:{{ part.end }}" \
title="{{ part.title }}"></i>
{%- endfor -%}
{%- if one.ended is not none -%}
<b class="{{ one.phase }}" style="--a:{{ one.ended }}" title="{{ one.phase }}"></b>
{%- endif -%}
</div>
<span class="end {{ one.phase }}" title="{{ one.message }}">{{ one.phase }}</span>
</div>
{%- endmacro %}
{% macro axis(ticks, kind) -%}
<div class="{{ kind }}">
{%- for one in ticks %}<u style="left:{{ one.at }}%">{{ one.label }}</u>{% endfor -%}
</div>
{%- endmacro -%}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{{ script_hash }}'; base-uri 'none'; \
form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="bootcfleet {{ version }}">
<title>Rollout {{ title }}: {{ result }}</title>
<link rel="icon" href="data:,">
<style>{{ style | safe }}</style>
</head>
<body>
<main>
<section class="card">
<div class="head"><h1>Rollout <span class="name">{{ id }}</span></h1>
<span class="badge {{ result }}">{{ result }}</span></div>
<dl class="facts">
{% for fact in facts if fact.value %}
<div{% if fact.value | length > 60 %} class="wide"{% endif %}>\
<dt>{{ fact.name }}</dt><dd>{{ fact.value }}</dd></div>
{% endfor %}
</dl>
{{ bar(counts, "hosts") }}
{{ keys(counts) }}
</section>

{% if bad %}
<h2 id="failures">What went wrong <small>{{ bad | length }} of {{ hosts }} hosts</small></h2>
<section class="card list">
{% for one in bad %}
<details class="failure"{% if loop.index <= open_failures %} open{% endif %}>
<summary><strong class="name">{{ one.host }}</strong> \
<span class="badge {{ one.phase }}">{{ one.phase }}</span>
{% if one.fault %}<span class="soft">{{ one.fault }}</span>{% endif %}
<span class="why">{{ one.message }}</span></summary>
<div>
{% if one.steps %}
<h4>How it went (UTC)</h4>
<ul class="steps">
{% for step in one.steps %}
<li title="{{ step.message }}"><span class="soft">{{ step.at }}</span> {{ step.phase }} \
<span class="soft">{{ step.span }}</span></li>
{% endfor %}
{% if one.ended %}<li><span class="soft">{{ one.ended }}</span> \
<span class="{{ one.phase }}">{{ one.phase }}</span></li>{% endif %}
</ul>
{% endif %}
<dl class="pairs">
{% if one.reference %}
<dt>planned</dt><dd>{{ one.reason }} (<code>{{ one.reference }}</code>)</dd>
{% endif %}
{% if one.before %}<dt>from</dt><dd><code>{{ one.before }}</code></dd>{% endif %}
{% for digest in one.planned %}<dt>to</dt><dd><code>{{ digest }}</code></dd>{% endfor %}
{% for part in one.rows if part.lines | length == 1 %}
<dt>{{ part.name }}</dt><dd><code>{{ part.lines[0] }}</code></dd>
{% endfor %}
</dl>
{% for part in one.rows if part.lines | length > 1 %}
<h4>{{ part.name }}</h4>
<pre>{% for text in part.lines %}{{ text }}
{% endfor %}</pre>
{% endfor %}
</div>
</details>
{% endfor %}
</section>
{% endif %}

<h2>Waves <small>{{ waves | length }}</small></h2>
<section class="card waves">
{% for wave in waves %}
<div>
<div class="top"><strong>{{ wave.title }}</strong>
<span class="{{ wave.phase }}">{{ wave.phase }}</span>
<span class="soft">{{ wave.hosts }} {{ "host" if wave.hosts == 1 else "hosts" }}
{%- for word, time in wave.times %}, {{ word }} {{ time }}{% endfor %}</span></div>
{% if wave.message %}<p class="soft">{{ wave.message }}</p>{% endif %}
{{ bar(wave.counts, wave.title) }}
{{ keys(wave.counts) }}
</div>
{% endfor %}
</section>

<h2>Hosts along time <small>UTC</small></h2>
<section class="card" style="--s:0;--n:{{ total }}">
<div class="tools">
<span class="filters" hidden>
<input type="search" id="filter" placeholder="host, fault or message" aria-label="Filter the hosts">
<select id="phase" aria-label="Only hosts that ended so">
<option value="">all</option>
{% for one in counts %}<option>{{ one.phase }}</option>{% endfor %}
</select>
<span id="matches" class="soft" aria-live="polite"></span>
</span>
<label><input type="checkbox" id="own"{% if own %} checked{% endif %}> each wave on its own axis\
</label>
</div>
<ul class="keys">
{% for phase in drawn %}<li><i class="s-{{ phase }}"></i>{{ phase }}</li>{% endfor %}
</ul>
{% for wave in waves %}
<details class="wave" style="--ws:{{ wave.start }};--wn:{{ wave.span }}" open>
<summary><strong>{{ wave.title }}</strong> \
<span class="soft">{% for one in wave.counts %}{{ one.count }} {{ one.phase }}\
{% if not loop.last %}, {% endif %}{% endfor %}</span></summary>
<div class="axis"><span></span>{{ axis(ticks, "all") }}{{ axis(wave.ticks, "own") }}</div>
{% for one in wave.rows %}
{{ row(one) }}
{% endfor %}
{% if wave.rest %}
<details><summary>{{ wave.rest | length }} {{ "more" if wave.rows else "hosts" }} \
that need no look</summary>
{% for one in wave.rest %}
{{ row(one) }}
{% endfor %}
</details>
{% endif %}
</details>
{% endfor %}
{% if outside %}
<details class="wave"{% if outside | length <= 40 %} open{% endif %}>
<summary><strong>not in a wave</strong> <span class="soft">{{ outside | length }} \
{{ "host" if outside | length == 1 else "hosts" }}</span></summary>
{% for one in outside %}
{{ row(one) }}
{% endfor %}
</details>
{% endif %}
</section>

{% if moments %}
<h2>Who did what <small>UTC</small></h2>
<section class="card list">
<ul class="moments">
{% for one in moments %}
<li><time>{{ one.at }}</time><span>{{ one.actor }}</span>
<span><strong>{{ one.kind }}</strong> {{ one.message }}</span></li>
{% endfor %}
</ul>
</section>
{% endif %}

<h2>Policy and images</h2>
<section class="card">
<dl class="facts">
{% for fact in policy %}
<div><dt>{{ fact.name }}</dt><dd>{{ fact.value }}</dd></div>
{% endfor %}
{% for image in images %}
<div class="wide"><dt>{{ image.reference }}{% if image.version %}, version {{ image.version }}\
{% endif %}</dt><dd><code>{{ image.digest }}</code></dd></div>
{% endfor %}
</dl>
</section>
<footer>Made at {{ made }} by bootcfleet {{ version }}.</footer>
</main>
<script>{{ script | safe }}</script>
</body>
</html>
"""
