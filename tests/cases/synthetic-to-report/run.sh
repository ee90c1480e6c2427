# From nothing to a report: made-up data, a small grid, every table in every format, and a second call that has nothing to do.
small=(--dataset data --seeds 0 --set train.epochs=2 --set train.batch=32 --set tsn.epochs=2 --set lstm.hidden=16
    --set 'autoencoder.encoder=[16, 8]' --set 'autoencoder.decoder=[16]' --set 'grid.audio=[vggish]')
unmute data synth data --preset mini --train 120 --val 60
unmute data stats data
unmute plan "$REPO/experiments/icassp2019" "${small[@]}" --db runs.db
unmute run "$REPO/experiments/icassp2019" "${small[@]}" --db runs.db
says "nothing to train" unmute run "$REPO/experiments/icassp2019" "${small[@]}" --db runs.db
unmute report "$REPO/experiments/icassp2019" --db runs.db --out out >path.txt
grep -q 'ynthetic' "$(tail -1 path.txt)"
for format in json csv md latex; do
    unmute export tables "$REPO/experiments/icassp2019" --db runs.db --format $format >tables.$format
    [ -s tables.$format ]
done
unmute verify --db runs.db
unmute verify --db runs.db --dataset data --sample 1
unmute doctor --db runs.db
