"""Writes template_golden.json: small templates of our own, each with what Jinja2 3.1 makes of it.

    build/peers/bin/python tests/golden/make_template_golden.py

The environment is the one that chat templates get: immutable sandbox, trim_blocks, lstrip_blocks, loop controls, the
{% generation %} tag, Python's json.dumps as tojson. A case holds the template, its variables and either the text or
"error": true. tests/unit/text/test_jinja.c renders the same and compares bytes.
"""
import datetime
import json
import os

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = 1721995200  # 26 Jul 2024, 12:00 UTC; the test runs with TZ=UTC


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


class Namespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attrs = dict(*args, **kwargs)
        for name in attrs:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, attrs)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


ENV = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
ENV.filters["tojson"] = tojson
ENV.globals["raise_exception"] = raise_exception
ENV.globals["namespace"] = Namespace
ENV.globals["dict"] = lambda *a, **k: dict(*a, **k)
ENV.globals["strftime_now"] = lambda f: datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(f)

DATA = {
    "m": [{"role": "user", "content": "Hi <b>\n"}, {"role": "assistant", "content": ""}, {"role": "tool", "content": None}],
    "d": {"b": 1, "a": {"x": [1, 2.5, None, True, "é\"\\\n"]}, "items": "shadow", "Zed": [], "empty": {}},
    "l": [3, 1, 2, 3],
    "w": ["b", "A", "c", "B"],
    "s": "  Grüße, Straße ǆ\t\n",
    "zh": "中医：望闻问切。",
    "e": "", "zero": 0, "f": 1.5, "no": None, "yes": True,
    "rows": [{"n": "x", "v": 2, "in": {"k": "p"}}, {"n": "y", "v": 1, "in": {"k": "q"}}, {"n": "x", "v": 3}],
    "html": "<a href=\"x\">&'</a>",
    "big": 9007199254740993, "tiny": 1e-7, "huge": 1e22, "third": 0.1,
}

# Each entry: a template, or (template, extra variables).
CASES = [
    # white space
    "a\n   {% set x=1 %}   \nb  {#- c -#}  d\n",
    "{% if true %}\n [a\n {{ 'x' }}\n  {% if true %}\n y\n  {% endif %}\nz{% endif %}\n",
    "{%- if true -%}  \n x \n {%- endif +%}\n y", "a\n{# c #}\nb", "a\n\n", "a\n", "\n", "", "a\r\nb\rc\r\n",
    "x {%+ if true %} y {% endif %}", "x\n  {%+ if true %} y\n  {%+ endif %}z", "  {{ 1 }}  \n  {{- 2 -}}  \n 3",
    "  {# c #}  \n  x", "a {#- c #}\n b", "a\n  {#+ c +#}\n b", "a{% raw %}\n {{ x }} {% if %} {#\n{% endraw %}\nb",
    "a\n {%- raw -%}\n  {{ x }}\n {%- endraw -%} \n b", "a\n   {% raw %}\n x\n   {% endraw +%}\n b",
    "{{ 'a' }}\n{{ 'b' }}\n", "{% for i in l %}\n{{ i }}\n{% endfor %}\n", "{% for i in l -%}\n {{ i }}\n{%- endfor %}",
    "\u00a0\u3000{%- if true %}x{% endif %}", "x\n\u3000{% if true %}y{% endif %}", "  \n \t{% set a = 1 %}\n  z",
    "{{ 'a' -}}\n\n  b", "{{ {'a': {'b': 1}} }}", "{{ {'a': {}}}}}", "{{ '}}' }}{{ '%}' }}{% if '%}' %}k{% endif %}",
    "{%if true%}a{%endif%}", "{%- set a = 'x' -%}\n{{ a }}", "{% set a -%} \n x {%- endset %}[{{ a }}]", "{{'a'}}{{-'b'}}",
    "{% if true %}{# a #}\n{% endif %}b", "x{#- a -#}\n\ny", "{# multi\nline #}\nz",
    # literals and operators
    "{{ 1 }} {{ 1.0 }} {{ 1e3 }} {{ 1.5e-7 }} {{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1e16 }} {{ 123456789012345680.0 }}",
    "{{ 0.1 + 0.2 }} {{ 1e22 }} {{ 1e-5 }} {{ 0.0001 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }} {{ -0.0 }} {{ 100.0 }} {{ 1/3 }}",
    "{{ true }} {{ True }} {{ none }} {{ None }} {{ false }}", "{{ 'a' 'b' \"c\" }}",
    r"{{ 'a\n\t\\\'\"\u4e2d\x41\101\q' }}", "{{ 'a\nb' }}", r"{{ '\é\中' }}", r"{{ 'x\
y' }}",
    "{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }}",
    "{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 4 / 2 }} {{ 0 * -1.0 }} {{ 6.0 % 3 }} {{ 3 * 1.5 }}",
    "{{ 1 ~ 2 ~ none ~ 1.0 ~ [1] }} {{ 2*3 ~ 4 }} {{ -2|abs }} {{ 'a' + 'b'|upper }} {{ -1 }} {{ +1 }} {{ - - 1 }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ [1,2] < [1,3] }} {{ (1,) < (1, 0) }} {{ 1 != 2 == true }}",
    "{{ 'a' in 'abc' }} {{ 'a' in ['a'] }} {{ 'b' in d }} {{ 'x' not in d }} {{ not 'a' in 'abc' }} {{ 1 in [true] }} {{ '' in 'x' }} {{ 3 in l }}",
    "{{ 1 and 2 }} {{ 0 or 'x' }} {{ '' and 1 }}| {{ none or [] }} {{ not 0 }} {{ not [] and 1 }} {{ 1 or nope.x }}",
    "{{ 'a' if yes else 'b' }} {{ 'a' if e }}| {{ 'a' if e else 'b' if zero else 'c' }} {{ ('x' if e) is defined }}",
    "{{ 'a' * 3 }} {{ 3 * 'ab' }} {{ [1] * 2 }} {{ 'x' * 0 }}| {{ 'x' * -1 }}| {{ (1, 2) * 2 }}", "{{ [1] + [2] }} {{ (1,) + (2,) }}",
    "{{ (1) }} {{ (1,) }} {{ () }} {{ (1, 2) }} {{ [1, 'a', none, 1.0] }} {{ {} }} {{ {'a': 1, 2: [3], 'b': {'c': ()}} }} {{ [1, 2,] }} {{ {'a': 1,} }}",
    "{{ 1, 2 }}", "{{ \"it's\" }} {{ ['it\\'s', 'q\"', 'b\\'\"', 'n\\n\\t\\r\\\\', '\\x00\\x1f\\x7f', '\\xa0\\u200b\\ufeff', '中é😀'] }}",
    "{{ '%s-%s' % (1, 'a') }} {{ '%s' % 'x' }} {{ '%d %5d|%-5d|%05d %+d' % (1, 2, 3, -4, 5) }} {{ '%.2f %5.1f %e %g' % (1.5, 2.25, 12345.678, 0.0001) }} {{ '%x %X %o' % (255, 255, 8) }} {{ '%5s|%-5s|%.2s' % ('a', 'b', 'cde') }} {{ '%r' % 'q' }} {{ '%%' % () }} {{ '%(a)s' % {'a': 1} }} {{ '%c' % 'x' }} {{ '%s' % [1] }}",
    "{{ l[0] }} {{ l[-1] }} {{ l[9] }}| {{ 'abc'[1] }} {{ 'abc'[-1] }} {{ 'abc'[7] }}| {{ zh[1] }} {{ d['b'] }} {{ d.b }} {{ d.nope }}| {{ d['nope'] }}|",
    "{{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ l[::2] }} {{ l[-2:] }} {{ l[5:] }} {{ l[2:1] }} {{ 'abcdef'[1:4] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[4:1:-1] }} {{ zh[2:4] }} {{ zh[::-2] }} {{ (1,2,3)[1:] }} {{ l[:] }} {{ l[-100:100] }} {{ l[none:2] }}",
    "{{ rows[0].n }} {{ rows[0]['in'].k }} {{ rows.0.n }} {{ (1, 2).1 }} {{ l.0 }}", "{{ d.items is defined }} {{ d['items'] }} {{ {'items': 1}['items'] }} {{ d.keys()|list }}",
    "{{ big }} {{ tiny }} {{ huge }} {{ third }} {{ f }} {{ zero }} {{ big + 1 }} {{ 9223372036854775807 }} {{ -9223372036854775807 }}",
    "{{ nope }}| {{ nope ~ 'x' }} {{ nope|length }} {{ nope is defined }} {{ nope == nope2 }} {{ not nope }} {{ nope|default('d') }} {{ [nope] }} {{ nope|string }}| {{ nope in ['a'] }}",
    "{% for x in nope %}a{% else %}none{% endfor %} {{ nope|list }} {{ nope|join(',') }}| {{ nope|upper }}| {{ nope|first }}|",
    # statements
    "{% if zero %}a{% elif e %}b{% elif yes %}c{% else %}d{% endif %}", "{% if zero %}a{% else %}{% if yes %}b{% else %}c{% endif %}{% endif %}",
    "{% if e %}a{% elif zero %}b{% endif %}|", "{% if no is none and (yes or nope.x) %}k{% endif %}", "{% if m %}{{ m|length }}{% endif %}",
    "{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
    "{% for i in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(i > 2) }} {% endfor %}", "{% for i in l if i != 3 %}{{ loop.index }}:{{ i }} {% else %}x{% endfor %}",
    "{% for i in [] %}a{% else %}b{% endfor %}{% for i in l if i > 9 %}a{% else %}c{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }},{% endfor %}{% for c in 'a中b' %}{{ c }}.{% endfor %}", "{% for a, (b, c) in [(1, (2, 3)), (4, [5, 6])] %}{{ a }}{{ b }}{{ c }} {% endfor %}",
    "{% for i in range(10) %}{% if i == 3 %}{% continue %}{% endif %}{% if i == 6 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in range(2) %}{% for j in range(2) %}{{ loop.index }}{{ i }}{% endfor %}{{ loop.index }};{% endfor %}",
    "{{ range(5)|list }} {{ range(1, 5)|list }} {{ range(5, 0, -2)|list }} {{ range(0)|list }} {{ range(3) }} {{ range(4)|length }} {{ 2 in range(3) }}",
    "{% set x = 1 %}{% for i in l %}{% set x = i %}{{ x }}{% endfor %}{{ x }}", "{% set x = 1 %}{% for i in l %}{{ x }}{% set x = x + i %}{{ x }} {% endfor %}",
    "{% set x = 1 %}{% if yes %}{% set x = 2 %}{% endif %}{{ x }}", "{% for i in l %}{% if loop.first %}{% set y = 'f' %}{% endif %}{{ y }}.{% endfor %}",
    "{% set ns = namespace(n=0, s='') %}{% for i in l %}{% set ns.n = ns.n + i %}{% set ns.s = ns.s ~ i %}{% endfor %}{{ ns.n }} {{ ns.s }} {{ ns.q is defined }} {{ ns['n'] }}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }} {{ namespace({'k': 2}).k }} {{ namespace(a=1) }} {{ ns == ns }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }} {% set (c, d2) = (3, 4) %}{{ c }}{{ d2 }} {% set t = 1, %}{{ t }}",
    "{% set a %}x{{ 1 }}\n y{% endset %}[{{ a }}]", "{% set a | upper | replace('X', 'z') %}x{{ 'y' }}{% endset %}{{ a }}", "{% set a %}{% set b = 2 %}{{ b }}{% endset %}{{ a }}{{ b }}|",
    "{% macro f(a, b=2, c=none) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(b=5, a=4) }}{{ f() }}{{ f(1, c='x') }}",
    "{% macro f(a, b=a) %}{{ b }}{% endmacro %}{{ f(7) }}", "{% set g = 'global' %}{% macro f() %}{{ g }}{{ i }}|{% endmacro %}{% for i in l %}{{ f() }}{% endfor %}{% set g = 'later' %}{{ f() }}",
    "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, k=3) }}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(4) }}",
    "{% macro f(x) %}<{{ caller(x) }}>{% endmacro %}{% call(v) f(3) %}v={{ v }}{% endcall %}", "{% macro f() %}<{{ caller() }}>{% endmacro %}{% set q = 'o' %}{% call f() %}{{ q }}{% set q = 'i' %}{% endcall %}{{ q }}",
    "{% macro f() %}  a\n{% endmacro %}{{ f()|trim }}{{ f() is string }} {{ f.name }} {{ f }}", "{% for i in l %}{% macro f() %}{{ i }}{% endmacro %}{{ f() }}{% endfor %}{{ f is defined }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(*[1]) }}{{ f(**{'a': 2}) }}", "{% filter upper %}a{{ 'b' }}{% endfilter %} {% filter replace('a', 'z') | indent(2, true) %}a\na{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set a = 5 %}{{ a }}{% endwith %}{{ a }}|", "{% generation %}g{% set q = 1 %}{{ 2 }}{% endgeneration %}{{ q }}", "x {%- generation -%} g {%- endgeneration %}\ny",
    "{% print 1 %}{% print 'a', 2 %}", "{% for i in [[1, [2]], [3]] recursive %}{% if i is iterable %}({{ loop(i) }}){% else %}{{ i }}{{ loop.depth }}{% endif %}{% endfor %}",
    "{% set x = {'a': 1} %}{% set y = dict(x, b=2) %}{{ y }} {{ dict([('k', 'v')]) }} {{ dict() }} {{ dict(a=1) == x }}",
    "{% for i in l %}{% if loop.index is divisibleby 2 %}{{ loop.last }}{% endif %}{% endfor %}", "{% set loop = 5 %}{{ loop }}{% for i in [1] %}{{ loop.index }}{% endfor %}{{ loop }}",
    "{% if yes %}{% for i in l %}{{ i }}{% endfor %}{% endif %}", "{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d %H:%M') }}", "{% set m = m[1:] %}{{ m|length }}{{ m[0].role }}",
    # filters
    "{{ d|tojson }} {{ d|tojson(indent=2) }} {{ d|tojson(ensure_ascii=true) }} {{ d|tojson(sort_keys=true) }} {{ d|tojson(separators=(',', ':')) }} {{ d|tojson(true, 1) }}",
    "{{ html|tojson }} {{ '\\u2028\\x7f\\x01\\b\\f😀'|tojson }} {{ '😀é\\x7f'|tojson(ensure_ascii=true) }} {{ (1, 2)|tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }} {{ [1e20, 0.1, -0.0]|tojson }} {{ []|tojson(indent=4) }} {{ [[], {}]|tojson(indent=1) }} {{ 'x'|tojson|length }} {{ [1]|tojson(indent='--') }}",
    "{{ (1e308 * 10)|tojson }} {{ 1e308 * 10 }} {{ -(1e308 * 10) }}", "{{ s|trim }}| {{ '--a-'|trim('-') }} {{ s|upper }} {{ s|lower }} {{ s|title }} {{ s|capitalize }} {{ 12|upper }} {{ none|lower }}",
    "{{ 'straße ŉ ﬁ ΑΣ Σ ΑΣΑ İ ǆ'|upper }} {{ 'STRASSE ΑΣ Σ ΑΣΑ ΑΣ. İ Ǆ'|lower }} {{ 'ǆa ßb ﬁx'|capitalize }} {{ 'ǆa ßb'|title }} {{ \"they're bill's\".title() }} {{ 'a-b (c) {d} [e] <f> g_h 1x'|title }}",
    "{{ l|length }} {{ zh|length }} {{ d|length }} {{ l|count }} {{ e|length }}", "{{ l|join }} {{ l|join(', ') }} {{ ['a', none, 1.0]|join('-') }} {{ rows|join(',', attribute='n') }} {{ 'abc'|join('.') }} {{ d|join('/') }}",
    "{{ l|first }} {{ l|last }} {{ []|first }}| {{ 'abc'|first }} {{ 'abc'|last }} {{ l|reverse|list }} {{ 'abc'|reverse }} {{ l|min }} {{ l|max }} {{ w|min }} {{ w|max }} {{ l|sum }} {{ rows|sum(attribute='v') }} {{ []|sum }} {{ rows|sum('v', 10) }}",
    "{{ l|sort }} {{ l|sort(reverse=true) }} {{ w|sort }} {{ w|sort(case_sensitive=true) }} {{ rows|sort(attribute='v')|map(attribute='v')|list }} {{ rows|sort(attribute='n,v')|map(attribute='v')|list }} {{ l|unique|list }} {{ w|unique|list }} {{ rows|unique(attribute='n')|map(attribute='v')|list }}",
    "{{ {'b': 1, 'a': 2}|dictsort }} {{ {'b': 1, 'A': 2}|dictsort(true) }} {{ {'b': 1, 'a': 2}|dictsort(by='value') }} {{ {'b': 1, 'a': 2}|dictsort(false, 'key', true) }} {{ d|items|list|length }} {% for k, v in {'x': 1}|items %}{{ k }}{{ v }}{% endfor %}",
    "{{ rows|map(attribute='n')|list }} {{ rows|map(attribute='in.k')|list }} {{ rows|map(attribute='in.k', default='-')|list }} {{ w|map('upper')|list }} {{ w|map('replace', 'b', 'z')|join }} {{ [[1, 2]]|map(attribute=1)|list }} {{ [1, 2]|map('string')|list }}",
    "{{ l|select('odd')|list }} {{ l|select('greaterthan', 1)|list }} {{ l|reject('equalto', 3)|list }} {{ [0, 1, '']|select|list }} {{ [0, 1, '']|reject|list }} {{ rows|selectattr('n', 'equalto', 'x')|list|length }} {{ rows|selectattr('n', '==', 'y')|map(attribute='v')|first }} {{ rows|rejectattr('n', 'in', ['x'])|list|length }} {{ rows|selectattr('in')|list|length }} {{ rows|selectattr('in', 'defined')|list|length }}",
    "{% if []|select('odd') %}true{% endif %} {% set g = l|map('string') %}{{ g|list }}{{ g|list }} {{ l|select('in', [1, 2])|list }}",
    "{{ nope|default('d') }} {{ ''|default('d') }}| {{ ''|default('d', true) }} {{ none|default('d') }} {{ nope|d }}| {{ 0|default(1, boolean=true) }} {{ nope|default(value, true) }}|" .replace("value", "'v'"),
    "{{ 'aXbXc'|replace('X', '-') }} {{ 'aXbXc'|replace('X', '-', 1) }} {{ 'abc'|replace('', '.') }} {{ 1213|replace('1', 'x') }} {{ 'aaa'|replace('aa', 'b') }}",
    "{{ 'a\nb\n\nc'|indent }}|{{ 'a\nb'|indent(2) }}|{{ 'a\nb'|indent(2, true) }}|{{ 'a\n\nb'|indent(1, blank=true) }}|{{ 'a\nb'|indent('> ', first=true) }}|{{ 'a\n'|indent(2) }}|{{ ''|indent }}|{{ ''|indent(2, true) }}|",
    "{{ '12'|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ '0x1F'|int(0, 16) }} {{ '1.9'|int }} {{ 2.7|int }} {{ none|int }} {{ ' -5 '|int }} {{ '1_000'|int }} {{ true|int }} {{ '12'|float }} {{ 'x'|float }} {{ '1e3'|float }} {{ ' 1.5 '|float }} {{ 'inf'|float }} {{ 'ff'|int(default=1, base=16) }} {{ []|int }}",
    "{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 7|round }} {{ 2.1|round(0, 'ceil') }} {{ 2.9|round(method='floor') }} {{ 2.345|round(1, 'floor') }} {{ -1.5|round|int }} {{ -3|abs }} {{ 3.5|abs }}",
    "{{ l|batch(3)|list }} {{ l|batch(3, 'x')|list }} {{ l|slice(3)|list }} {{ l|slice(3, 'f')|list }} {% for g, r in rows|groupby('n') %}{{ g }}:{{ r|length }} {% endfor %}",
    "{{ 'a b c d e f g'|truncate(5) }} {{ 'a b c d e f g h i'|truncate(9, true) }} {{ 'aaaa bbbb cccc dddd'|truncate(10) }} {{ 'abcdefghijklmnop'|truncate(8, false, '!', 0) }} {{ 'ab'|center(6) }}| {{ 'abc'|center(6) }}| {{ 'a b-c d'|wordcount }} {{ '%s=%d'|format('a', 1) }} {{ '%(x)s'|format(x=2) }}",
    "{{ html|e }} {{ html|escape }} {{ html|safe }} {{ (html|safe) + '<' }} {{ '<' + (html|safe) }} {{ html|e|e }} {{ html|e|forceescape }} {{ (html|safe) ~ '<' }} {{ ['<'|e, 'x']|join('<') }} {{ (html|safe)|upper }} {{ ('<%s>'|safe) % '<' }} {{ [html|safe] }} {{ (html|safe).replace('a', '<') }} {{ (',<'|safe).join(['<', 'b']) }}",
    "{{ l|list }} {{ 'ab'|list }} {{ d|list }} {{ l|string }} {{ 1.0|string }} {{ 'a'|string }} {{ {'a': 1}|attr('keys') is defined }} {{ {'a': 1}|attr('a') is defined }}",
    # tests
    "{{ 1 is number }} {{ 1.0 is number }} {{ true is number }} {{ 'a' is number }} {{ 1 is integer }} {{ true is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ 1 is boolean }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }}",
    "{{ {} is mapping }} {{ [] is mapping }} {{ {} is sequence }} {{ 'a' is sequence }} {{ [] is sequence }} {{ (1,) is sequence }} {{ 1 is sequence }} {{ 'a' is iterable }} {{ none is iterable }} {{ 1 is iterable }} {{ {} is iterable }} {{ nope is iterable }} {{ nope is sequence }} {{ d.items() is sequence }} {{ l|map('string') is sequence }} {{ l|map('string') is iterable }} {{ range(2) is sequence }}",
    "{{ 'a' is string }} {{ 1 is string }} {{ none is none }} {{ nope is none }} {{ nope is undefined }} {{ d.x is undefined }} {{ d.b is not undefined }} {{ not x is defined }} {{ 3 is odd }} {{ 4 is even }} {{ 3 is divisibleby 3 and true }} {{ 6 is divisibleby(4) }} {{ 'a' is in 'abc' }} {{ 1 is in [1] }} {{ 1 is not in [1] }}",
    "{{ 1 is eq 1 }} {{ 1 is equalto 1.0 }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is ge 2 }} {{ 2 is gt(1) }} {{ 2 is le 1 }} {{ 'ab' is lower }} {{ 'AB' is upper }} {{ 'Ab' is upper }} {{ '1' is lower }} {{ none is sameas none }} {{ true is sameas true }} {{ f is callable }} {{ range is callable }} {{ 'upper' is filter }} {{ 'odd' is test }} {{ 'nope' is filter }} {{ html|safe is escaped }}",
    # methods
    "{{ 'a,b,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ ' a  b '.split() }} {{ ' a  b c '.split(none, 1) }} {{ 'a,b'.split(sep=',') }} {{ 'abc'.split('x') }} {{ ''.split(',') }} {{ ''.split() }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b  c '.rsplit(none, 1) }} {{ 'a<t>b<t>c'.split('<t>')[-1] }} {{ 'a\nb\r\nc\\u2028d'.splitlines() }} {{ 'a\nb'.splitlines(true) }}",
    "{{ '  a '.strip() }}| {{ 'xxaxx'.strip('x') }} {{ 'xyaxy'.lstrip('xy') }} {{ 'axyx'.rstrip('xy') }} {{ '\n a \n'.rstrip() }}| {{ '\\u3000a\\u00a0'.strip() }}| {{ '。中。'.strip('。') }} {{ 'a'.strip(none) }}",
    "{{ 'abc'.startswith('a') }} {{ 'abc'.endswith('bc') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, 2) }} {{ ''.startswith('') }} {{ 'a'.startswith('ab') }}",
    "{{ 'hELLO wORLD'.capitalize() }} {{ 'hELLO wORLD'.title() }} {{ 'aB'.upper() }} {{ 'aB'.lower() }} {{ 'aB'.swapcase() }} {{ 'aXa'.replace('a', 'b') }} {{ 'aXa'.replace('a', 'b', 1) }} {{ 'abcb'.find('b') }} {{ 'abcb'.rfind('b') }} {{ 'abc'.find('x') }} {{ zh.find('问') }} {{ 'abcb'.find('b', 2) }} {{ 'abcb'.find('b', -1) }} {{ 'abab'.count('ab') }} {{ 'aaa'.count('') }} {{ zh.index('望') }} {{ 'abc'.find('') }} {{ 'abc'.find('', 3) }} {{ 'abc'.find('', 4) }}",
    "{{ '-'.join(['a', 'b']) }} {{ ', '.join(w) }} {{ '12'.isdigit() }} {{ ''.isdigit() }} {{ 'ab'.isalpha() }} {{ '中'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ 'AB'.isupper() }} {{ 'ab1'.islower() }} {{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'a'.ljust(3) }}| {{ 'a'.rjust(3, '.') }} {{ 'a'.center(4) }}| {{ 'ab'.center(5, '*') }} {{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'a'.partition('=') }} {{ 'abc'.removeprefix('ab') }} {{ 'abc'.removesuffix('bc') }}",
    "{{ d.get('b') }} {{ d.get('q') }} {{ d.get('q', 7) }} {{ d.keys() }} {{ {'a': 1}.values() }} {{ {'a': 1}.items() }} {{ {'a': 1}.values()|list }} {{ {'a': 1}.copy() }} {{ l.index(2) }} {{ l.count(3) }} {{ (1, 2).index(2) }} {{ d.items()|length }} {{ l.append is defined }}",
    "{{ {'a': 1} == {'a': 1.0} }} {{ [1, [2]] == [1, [2]] }} {{ (1,) == [1] }} {{ {1: 2}[1.0] }} {{ {true: 'x'}[1] }} {{ {(1, 2): 'y'}[(1, 2)] }} {{ 'a'['upper'] is defined }} {{ d['keys'] is defined }} {{ none.x is defined }} {{ (1).x is defined }}",
    "{{ d|tojson|safe }} {{ 'a'|upper ~ 'b' }} {{ ('a' ~ 'b')|upper }} {{ l|length > 2 and l|length < 9 }} {{ 'x' if l|length == 4 else 'y' }} {{ m[0].content|trim|length }} {{ m[0]['content'].strip()[::-1] }}",
    "{{ '{}-{}'.format(1, 'a') }} {{ '{1}{0}{0}'.format('a', 'b') }} {{ '{x}{{}}'.format(x=[1]) }} {{ '{!r}|{0}'[:4].format('q') }} {{ '{}'.format(nope) }}| {{ ('<{}>'|safe).format('<') }}",
    "{{ '{}'.format() }}", "{{ '{'.format(1) }}", "{{ '}'.format(1) }}", "{{ '{0}{}'.format(1, 2) }}", "{{ '{x}'.format(1) }}",
    # messages, as templates walk them
    "{% for x in m %}{{ '<|' + x['role'] + '|>\n' + (x.content or '') | trim + '\n' }}{% endfor %}", "{% for x in m %}{%- if x.role == 'user' -%}U{{ x.content }}{%- elif x.role in ['assistant', 'tool'] %}A{% else %}?{%- endif -%}{% endfor %}",
    "{% set ns = namespace(found=false) %}{% for x in m[::-1] %}{% if not ns.found and x.role == 'user' %}{% set ns.found = true %}{{ loop.index0 }}{% endif %}{% endfor %}{{ ns.found }}",
    # refusals
    "{{ raise_exception('stop') }}", "{{ nope.x }}", "{{ nope.x is defined }}", "{{ nope + 'a' }}", "{{ nope() }}", "{{ 1 + 'a' }}", "{{ 'a' + 1 }}", "{{ 1 + 2 ~ 3 }}", "{{ 1 ~ 2 + 3 }}", "{{ [1] + (2,) }}", "{{ none + 1 }}", "{{ 1 / 0 }}", "{{ 1 % 0 }}", "{{ 1.0 // 0 }}",
    "{{ 1 < 'a' }}", "{{ none < 1 }}", "{{ 1 in 'abc' }}", "{{ 1 in 2 }}", "{{ 'a' in none }}", "{% for i in 5 %}{% endfor %}", "{% for i in none %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}", "{% for a, b in [[1, 2, 3]] %}{% endfor %}", "{% set a, b = [1] %}", "{% set x.y = 1 %}", "{% set x = {} %}{% set x.y = 1 %}",
    "{{ l.append(1) }}", "{{ d.update({}) }}", "{% set _ = l.pop() %}", "{{ l.sort }}{{ l.sort() }}", "{{ nope|tojson }}", "{{ [nope]|tojson }}", "{{ d.items()|tojson }}", "{{ range(200000) }}", "{{ range(1, 2, 0) }}", "{{ l|map('nope')|list }}", "{{ l|select('nope')|list }}", "{{ l|map|list }}", "{{ (l|map('string'))|length }}", "{{ 5|length }}", "{{ none|length }}", "{{ 1|items }}{{ 1|items|list }}", "{{ 5|join }}", "{{ 5|first }}", "{{ [1, 'a']|sort }}", "{{ 'abc'.split('') }}", "{{ 'a'.index('b') }}", "{{ 'a'.nope() }}", "{{ (1)() }}", "{{ {[1]: 2} }}", "{{ l[1:2:0] }}", "{{ l['a':] }}", "{{ -'a' }}", "{{ -none }}", "{{ '%d' % 'a' }}", "{{ '%s %s' % 'a' }}", "{{ '%s' % (1, 2) }}", "{{ '%q' % 1 }}", "{{ namespace(_a=1) }}", "{% set n = namespace() %}{% set n._a = 1 %}", "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{% endmacro %}{{ f(b=1) }}", "{% macro f(a) %}{% endmacro %}{{ f(1, a=2) }}", "{{ 'a'|upper(1) }}", "{{ 'a'|trim(q=1) }}", "{{ 'a'|replace('a') }}", "{{ nope|int }}", "{{ 1 is divisibleby 0 }}", "{{ ','.join([1]) }}", "{{ 2 ** 'a' }}", "{% for i in [1] %}{{ loop(i) }}{% endfor %}",
    # syntax errors
    "{{ x", "{% if %}", "{% if x %}", "{% endif %}", "{% for i in l %}", "{% nope %}", "{{ x|nope }}", "{{ x is nope }}", "{{ 1 + }}", "{{ (1 }}", "{{ [1 }}", "{{ 'abc }}", "{# open", "{% raw %}x", "{{ a b }}", "{{ a..b }}", "{% set 1 = 2 %}", "{% set x %}", "{% macro f(a=1, b) %}{% endmacro %}", "{% break %}", "{{ x is a is b }}", "{{ ) }}", "{{ }}", "{% for %}{% endfor %}", "{% if a %}{% else %}{% else %}{% endif %}", "{{ f(a=1, 2) }}", "{{ x ! y }}", "{{ x | }}", "{% if a %}{% for i in l %}{% endif %}{% endfor %}", "{% macro %}{% endmacro %}", "{{ {1} }}", "{{ {1: } }}", "{{ x[ }}", "{{ 1 if }}", "{% set true = 1 %}", "{{ lambda x: x }}", "{% set a.b.c = 1 %}", "{% if 1 if 2 else 3 %}{% endif %}",
    # looked up only when reached
    "{% if false %}{{ x|nope }}{% endif %}ok", "{{ 'a' if true else (x|nope) }}", "{% if true %}{{ x|nope }}{% endif %}", "{% if false %}{% for i in l %}{{ x|nope }}{% endfor %}{% endif %}", "{% if false %}{{ x is nope }}{% endif %}ok",
]


def main():
    out = []
    for case in CASES:
        template, extra = case if isinstance(case, tuple) else (case, {})
        entry = {"template": template}
        if extra:
            entry["vars"] = extra
        try:
            entry["text"] = ENV.from_string(template).render(**{**DATA, **extra})
        except Exception as e:  # whatever Jinja2 raises is a refusal
            entry["error"] = f"{type(e).__name__}: {e}"
        out.append(entry)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "template_golden.json")
    with open(path, "w", encoding="utf-8") as f:
        f.write('{"jinja2": "%s", "now": %d, "data": %s, "cases": [\n' % (jinja2.__version__, NOW, json.dumps(DATA, ensure_ascii=False)))
        f.write(",\n".join(json.dumps(e, ensure_ascii=False) for e in out))
        f.write("\n]}\n")
    print(len(out), "cases,", sum("error" in e for e in out), "refusals")


if __name__ == "__main__":
    main()
