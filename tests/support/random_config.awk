# One configuration drawn at random from every key of the program, as YAML:
#
#   hone train --help-config | awk -v seed=N -f random_config.awk
#
# The keys, their types, ranges, defaults and known words come from that reference alone, so a new key is drawn without a
# change here. A seed says which of three moods a configuration has: values near the default; these and the ends of the
# ranges; some values that are no value of the key at all. Whatever the mood, every 23rd key is in it, another set for each
# seed, so that 23 seeds in a row have every key. Only the keys in fixed() are drawn otherwise: what a run can not do
# without, and its length. The files are those that random_configs.sh lays beside the configuration.
#
# The generator of numbers is Lehmer's (multiplier 16807, modulus 2^31 - 1), exact in doubles: every awk draws the same.

function draw() {
    state = (state * 16807) % 2147483647
    return state / 2147483647
}

function chance(p) { return draw() < p }

function below(n) { return int(draw() * n) }

function one_of(list,    part, n) {
    n = split(list, part, "|")
    return part[1 + below(n)]
}

function fixed(name) {
    if (name == "model.name_or_path")
        return chance(0.95) ? one_of("model|model.gguf") : one_of("nowhere|rows.jsonl|.|empty.jsonl")
    if (name == "training.output_dir")
        return chance(0.95) ? "out" : one_of("deep/er/out|rows.jsonl|rows.jsonl/out")
    if (name == "training.max_steps")
        return chance(0.97) ? one_of("1|2") : "two"
    if (name == "data.train_data_path")
        return chance(0.95) ? one_of("rows.jsonl|[rows.jsonl, eval.jsonl]|row*.jsonl|folder|rows.txt") \
                           : one_of("nowhere.jsonl|empty.jsonl|broken.jsonl|model|[]")
    return ""
}

function nonsense() {
    return one_of("nonsense|-1|0|2|1.5|1e400|.nan|-.inf|~|''|[]|{}|[1, two]|[[1]]|{a: {b: c}}|18446744073709551616|true|" \
        "'(['|\"\\0\"|\"a\\nb\"|日本語|../../rows.jsonl|/dev/null/x|*alias|&anchor 1|!tag 1|'" long_text "'")
}

# A number in the range that the type's text gives: near the default, or (edge) an end of the range.
function number(t, standard, edge, whole,    low, high, open_low, open_high, x, part) {
    low = whole ? -2147483648 : -1e300
    high = whole ? 2147483647 : 1e300
    if (match(t, />=? -?[0-9.]+/)) {
        split(substr(t, RSTART, RLENGTH), part, " ")
        low = part[2] + 0
        open_low = part[1] == ">"
    } else if (match(t, /[\[(]-?[0-9.]+, -?[0-9.]+[\])]/)) {
        x = substr(t, RSTART, RLENGTH)
        open_low = substr(x, 1, 1) == "("
        open_high = substr(x, length(x)) == ")"
        split(substr(x, 2, length(x) - 2), part, ", ")
        low = part[1] + 0
        high = part[2] + 0
    }
    if (edge && chance(0.5))
        return whole ? sprintf("%.0f", high) : open_high ? sprintf("%.15g", high - 1e-9) : sprintf("%.15g", high)
    if (edge)
        return whole ? sprintf("%.0f", low) : open_low ? sprintf("%.15g", low + 1e-12) : sprintf("%.15g", low)
    if (standard !~ /^[-+]?[0-9][-+.0-9e]*$/)
        x = low < 0 ? below(4) : low + 1 + below(3)
    else
        x = (standard + 0) * one_of("0.5|1|1|2")
    if (standard + 0 == 0 && chance(0.6))
        x = (whole || high > 1) ? 1 + below(3) : 0.1
    if (whole || t ~ /whole from 1 on/)
        x = x < 1 && x > 0 ? 1 : int(x)
    if (x < low || x == low && open_low)
        x = whole ? low + open_low : low + 1e-3
    if (x > high || x == high && open_high)
        x = open_high ? high - 1e-3 : high
    return sprintf("%.15g", x)
}

# A word of the key's own: what its help has between backquotes, or its default.
function word(k,    w) {
    if (words[k] != "" && chance(0.7))
        w = one_of(words[k])
    else
        w = standard[k] ~ /^[A-Za-z0-9_.-]+$/ && standard[k] != "required" ? standard[k] : one_of("text|task|q_proj|mlp")
    return w ~ /^[A-Za-z][A-Za-z0-9_.-]+$/ ? w : "'" w "'"
}

function value(k, mood,    t, edge) {
    if (mood == 3 && chance(0.1))
        return nonsense()
    t = type[k]
    if (mood == 1 && (t ~ /^(text|path)/ || t ~ /list of them$/) && chance(0.6))
        return "~"
    edge = mood >= 2 && chance(0.3)
    if (t ~ /, or [a-z]+$/ && chance(0.2)) {
        sub(/.*, or /, "", t)
        return t
    }
    if (t == "true or false")
        return chance(0.8) ? standard[k] : one_of("true|false")
    if (t ~ /^one of /) {
        sub(/^one of /, "", t)
        gsub(/, /, "|", t)
        return one_of(t)
    }
    if (t ~ /^mapping/)
        return "{" one_of("q_proj|'.*mlp.*'|layers.0.self_attn.k_proj|nothing") ": " number(t, "4", edge, 0) "}"
    if (t ~ /^integer/)
        return number(t, standard[k], edge, 1)
    if (t ~ /^number.*list of them/)
        return chance(0.5) ? standard[k] ~ /^\[/ ? standard[k] : "[" number(t, "1", edge, 0) "]" \
                           : "[" number(t, "1", edge, 0) ", " number(t, "1", edge, 0) "]"
    if (t ~ /^number/)
        return number(t, standard[k], edge, 0)
    if (t ~ /^path/)
        return words[k] != "" && chance(0.5) ? word(k) : edge ? one_of("nowhere|folder|empty.jsonl|rows.jsonl/x|''") \
            : one_of("eval.jsonl|eval.jsonl|rows.jsonl|adapter|new_folder")
    return t ~ /list/ && chance(0.3) ? "[" word(k) ", " word(k) "]" : word(k)
}

# The keys of one section that are drawn with probability p, those with a dot below their common name.
function section_text(s, p, mood, indent,    k, v, needed, body, group, head, rest, seen, g, order, n) {
    for (k = 1; k <= keys; k++) {
        if (section[k] != s)
            continue
        needed = fixed(s "." key[k])
        v = indent == "" ? needed : ""
        if (v == "" && !(indent == "" && (k + seed) % 23 == 0) && !chance(type[k] ~ /^(path|text)/ ? p / 3 : p))
            continue
        if (v == "")
            v = needed == "" ? value(k, mood) : needed
        if (!match(key[k], /\./)) {
            body = body indent "  " key[k] ": " v "\n"
            continue
        }
        head = substr(key[k], 1, RSTART - 1)
        rest = substr(key[k], RSTART + 1)
        if (!(head in seen)) {
            seen[head] = 1
            order[++n] = head
        }
        group[head] = group[head] indent "    " rest ": " v "\n"
    }
    for (g = 1; g <= n; g++)
        body = body indent "  " order[g] ":\n" group[order[g]]
    return body == "" ? "" : indent s ":\n" body
}

BEGIN {
    state = (seed * 7919 + 12345) % 2147483646 + 1
    long_text = sprintf("%300s", "")
    gsub(/ /, "x", long_text)
}

/^## / {
    current = $2
    sections[++n_sections] = current
}

/^- `/ {
    keys++
    section[keys] = current
    split($0, tick, "`")
    key[keys] = tick[2]
    type[keys] = substr($0, length(tick[2]) + 7)
    standard[keys] = type[keys]
    sub(/\. Default: .*/, "", type[keys])
    sub(/.*\. Default: /, "", standard[keys])
    sub(/\.( Alias.*)?$/, "", standard[keys])
}

/^  / && keys {
    n = split($0, tick, "`")
    for (i = 2; i < n; i += 2)
        if (tick[i] !~ /['|\\]/)
            words[keys] = words[keys] (words[keys] == "" ? "" : "|") tick[i]
}

END {
    for (i = 0; i < 10; i++)
        draw()
    mood = chance(0.5) ? 1 : chance(0.6) ? 2 : 3
    p = one_of("0|0|0.05|0.15|0.3")
    for (i = 1; i <= n_sections; i++)
        printf "%s", section_text(sections[i], p, mood, "")
    if (chance(0.85))
        exit
    print "stages:"
    n = 1 + below(3)
    for (i = 1; i <= n; i++) {
        print "  - name: " (mood == 3 && chance(0.3) ? nonsense() : one_of("first|second|third"))
        for (k = 1; k <= n_sections; k++)
            printf "%s", section_text(sections[k], 0.02, mood, "    ")
    }
}
