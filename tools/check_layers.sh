#!/usr/bin/env bash
# tools/check_layers.sh: does every file include only what its layer may use? Prints the lines of every layer.
#
# The truth is CMakeLists.txt: `hone_layer(name other...)` says that src/name/ may include its own headers and those of
# the others. Beyond that: the programs in src/cli/ see the public headers only, a public header includes only public
# ones and the C library's, and a layer may use only layers declared above it (so the graph has no cycle).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

files=$(find src include -name '*.[ch]' | LC_ALL=C sort)
# shellcheck disable=SC2086
LC_ALL=C awk '
function fault(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; faults++ }

FILENAME == "CMakeLists.txt" {
    if (match($0, /^hone_layer\([a-z0-9_ ]+\)/)) {
        n = split(substr($0, 12, RLENGTH - 12), word, " ")
        layer = word[1]
        order[++layers] = layer
        allowed[layer] = " " layer
        for (i = 2; i <= n; i++) {
            if (!(word[i] in allowed)) fault("layer " layer " uses " word[i] ", which is not declared above it")
            allowed[layer] = allowed[layer] " " word[i]
        }
        allowed[layer] = allowed[layer] " "
    }
    next
}

FNR == 1 {
    folder = ""
    split(FILENAME, part, "/")
    public = part[1] == "include"
    layer = public ? "include" : part[2]
    if (!public && layer != "cli" && !(layer in allowed)) fault("src/" layer " is not declared with hone_layer in CMakeLists.txt")
    count[layer]++
}
{ lines[layer]++; total++ }
lines_of[FILENAME]++ >= 0 { if (lines_of[FILENAME] > longest[layer]) longest[layer] = lines_of[FILENAME] }

/^[ \t]*#[ \t]*include[ \t]*</ {
    match($0, /<[^>]*>/)
    name = substr($0, RSTART + 1, RLENGTH - 2)
    if (public && name !~ /^(stdarg|stdbool|stddef|stdint|stdio)\.h$/) fault("a public header includes <" name ">")
    if (name ~ /^hone\//) fault("write \"" name "\", not <" name ">")
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    match($0, /"[^"]*"/)
    name = substr($0, RSTART + 1, RLENGTH - 2)
    slash = index(name, "/")
    top = slash ? substr(name, 1, slash - 1) : ""
    if (name ~ /\.\./) fault("\"" name "\" climbs out of its folder")
    else if (public && top != "" && top != "hone") fault("a public header includes \"" name "\"")
    else if (top == "" || top == "hone" || top == layer) ;
    else if (layer == "cli") fault("a program includes \"" name "\": only hone/*.h is public")
    else if (!public && index(allowed[layer], " " top " ") == 0) fault("layer " layer " may not include \"" name "\"")
}

END {
    if (!layers) { print "check_layers: no hone_layer lines found in CMakeLists.txt"; exit 1 }
    printf "%-9s %5s %7s %8s\n", "layer", "files", "lines", "longest"
    order[++layers] = "cli"
    order[++layers] = "include"
    for (i = 1; i <= layers; i++)
        printf "%-9s %5d %7d %8d\n", order[i], count[order[i]], lines[order[i]], longest[order[i]]
    printf "%-9s %5s %7d\n", "all", "", total
    if (faults) { printf "check_layers: %d wrong includes\n", faults; exit 1 }
}' CMakeLists.txt $files
