# Every verb that README.md shows exists, and its --help has an example.
verbs=$(grep -o '`unmute [a-z]*' "$REPO/README.md" | sed 's/`unmute //' | grep . | sort -u)
[ "$(wc -l <<<"$verbs")" -gt 10 ]
for verb in $verbs; do
    echo "unmute $verb --help"
    unmute "$verb" --help >help.txt
    grep -qi 'example' help.txt || [ "$verb" = data ]
done
# The folders that it names are there.
for path in $(grep -oE '`(experiments|docs|src|tests|reports)/[A-Za-z0-9_./-]*`' "$REPO/README.md" | tr -d '`' | sort -u); do
    echo "$path"
    [ -e "$REPO/$path" ] || [ "$path" = reports/out ]
done
