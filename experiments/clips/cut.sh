#!/usr/bin/env bash
# Cuts videos into clips of 3 s, as folders that `unmute extract` takes: cut.sh VIDEOS DST
#
# A class is a video. Its first 60 % are for training, the rest for validation, so that no second is in both; within each
# part a clip starts every half second. Videos of less than 6 s are left out and named.
set -euo pipefail
videos=$1
dst=$2
step=0.5
if [ -d "$dst" ]; then
    echo "$dst is there already; remove it to cut again" >&2
    exit 0
fi
part=$(mktemp -d "$(dirname "$dst")/.cut.XXXXXX")
trap 'rm -rf "$part"' EXIT
for video in "$videos"/*; do
    name=$(basename "${video%.*}")
    seconds=$(ffprobe -v error -show_entries format=duration -of csv=p=0 "file:$video" 2>/dev/null || true)
    if ! awk -v s="${seconds:-0}" 'BEGIN { exit !(s + 0 >= 6) }'; then
        echo "left out: $(basename "$video"): ${seconds:-cannot be read}" >&2
        continue
    fi
    # Starts of clips: train from 0 to 0.6 s - 3, val from 0.6 s to s - 3.
    while read -r split start; do
        mkdir -p "$part/$split/$name"
        ffmpeg -nostdin -v error -ss "$start" -t 3 -i "file:$video" -map 0:V:0 -map '0:a:0?' \
            -c:v mpeg4 -q:v 3 -c:a aac "$part/$split/$name/$name-$start.mp4" </dev/null 2>/dev/null
    done < <(awk -v s="$seconds" -v step="$step" 'BEGIN {
        for (t = 0; t <= 0.6 * s - 3 || t == 0; t += step) print "train", t
        from = 0.6 * s; if (from < 3) from = 3
        for (t = from; t <= s - 3; t += step) printf "val %.2f\n", t
    }')
done
mv "$part" "$dst"
trap - EXIT
