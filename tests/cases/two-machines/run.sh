# Two machines train a seed each; merged, their stores have the tables of one that trained both.
small=(--dataset data --set train.epochs=2 --set train.batch=32 --set tsn.epochs=2 --set lstm.hidden=16
    --set 'autoencoder.encoder=[16, 8]' --set 'autoencoder.decoder=[16]' --set 'grid.audio=[vggish]' --set 'grid.loss=[l2]')
experiment=$REPO/experiments/icassp2019
unmute data synth data --preset mini --train 120 --val 60
unmute run "$experiment" "${small[@]}" --seeds 0 --db first.db
unmute run "$experiment" "${small[@]}" --seeds 1 --db second.db
unmute run "$experiment" "${small[@]}" --seeds 0,1 --db both.db
unmute merge --db first.db second.db
says "nothing to train" unmute run "$experiment" "${small[@]}" --seeds 0,1 --db first.db
unmute export tables "$experiment" --db first.db --format csv >merged.csv
unmute export tables "$experiment" --db both.db --format csv >both.csv
cmp merged.csv both.csv
