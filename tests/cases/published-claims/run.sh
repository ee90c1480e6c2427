# The paper's claims held against its own published tables, with no run and no store.
expect 3 unmute claims "$REPO/experiments/icassp2019" --published >claims.txt
cat claims.txt
grep -q '^C1 ' claims.txt && grep -q '^C15 ' claims.txt
# What the paper did not print cannot be tested, and what its tables contradict does not hold.
grep -q 'cannot-be-tested' claims.txt && grep -q ' holds ' claims.txt && grep -q ' fails ' claims.txt
[ -z "$(ls -A | grep -v claims.txt)" ]
