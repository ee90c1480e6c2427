# Numbers of a quick try are not taken for those of the experiment: every format and the report say what was changed.
unmute data synth data --preset mini --train 60 --val 40 >/dev/null
small=(--dataset data --set grid.audio=[vggish] --set grid.generator=[autoencoder] --set grid.loss=[l2] --set grid.classifier=[without])
expect 0 unmute run "$REPO/experiments/icassp2019" "${small[@]}" --set train.epochs=1 --set tsn.epochs=1 --seeds 0
for format in csv json md latex; do
  says 'train.epochs=1' unmute export tables icassp2019 --format $format
  says '1 of 3 declared seeds' unmute export tables icassp2019 --format $format
done
expect 0 unmute report icassp2019 --out out
grep -q 'Not the experiment as declared' out/icassp2019.html
grep -q '1 of 3 declared seeds' out/icassp2019.html
