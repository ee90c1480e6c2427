//! Training with products of bfloat16 numbers: against PyTorch's rounding, against f32, and what a run of it says.

use crate::support::call::{Place, runs};
use crate::support::fixture::{self, cases, doubles, floats, size};
use crate::support::layers::{fused_lstm, lstm_in, of_gates};
use crate::support::numbers::{assert_close, normal, on_threads};
use compute::nn::lstm::{self, Precision};
use compute::nn::{InputBatch, PackedParam};
use unmute::device::cpu;
use unmute::experiment::config::{Classifier, Engine, Loss, Train};
use unmute::model::Sizes;
use unmute::model::generator::lstm::Lstm;
use unmute::model::generator::{self, Generator};
use unmute::store::RunRecord;
use unmute::train::Batch;
use unmute::train::cell_trainer::adam;
use unmute::train::objective::Objective;

/// f32 sums against float64 ones; a state that lies between two bfloat16 numbers may go to the other one, which is rare.
const TOLERANCE: f64 = 2e-5;

#[test]
fn the_rounded_lstm_gives_what_pytorch_gives_with_rounded_factors() {
    for case in cases(&fixture::read("lstm_bf16.json")) {
        let [t, d, h] = ["t", "d", "h"].map(|name| size(&case["dims"][name]));
        let x = floats(&case["x"]);
        let rows = x.len() / d;
        let x = InputBatch::all(x.into(), rows);
        let params = [("w", d), ("u", h), ("b", 1)].map(|(name, rows)| of_gates(&floats(&case[name]), rows));
        let params = params.each_ref();
        let dh = |_: &[f32]| floats(&case["dh"]);
        let (rounded, whole) = (lstm_in(Precision::Bf16, &x, t, params, dh), fused_lstm(&x, t, params, dh));
        for ((name, rounded), whole) in ["h_t", "dw", "du", "db"].iter().zip(&rounded).zip(&whole) {
            let want = doubles(&case[name]);
            assert_close(&format!("{name} of {h} units"), rounded, &want, TOLERANCE);
            let scale = want.iter().fold(0.0f64, |most, v| most.max(v.abs()));
            let apart = whole.iter().zip(&want).map(|(w, v)| (f64::from(*w) - v).abs() / scale).fold(0.0, f64::max);
            assert!(apart > 5.0 * TOLERANCE, "{name}: without rounding {apart}, so that this test would not see it");
        }
    }
}

/// An input of so many frames and clips, rows of which may repeat, and the parameters.
fn made(sizes: [usize; 4], repeats: bool) -> (InputBatch, [PackedParam; 3]) {
    let [t, b, d, h] = sizes;
    let random = |n: usize, scale: f64, name: &str| normal(n, scale, &format!("bf16 {name}"));
    let params = [(d, "w"), (h, "u"), (1, "b")].map(|(n, name)| of_gates(&random(n * 4 * h, 0.1, name), n));
    let all = InputBatch::all(random(t * b * d, 1.0, "x").into(), t * b);
    if !repeats {
        return (all, params);
    }
    // Two frames of each clip are the same.
    let index: Vec<u32> = (0..t * b).map(|row| ((row / b).div_ceil(2) * b + row % b) as u32).collect();
    let distinct = index.iter().max().map_or(0, |last| *last as usize + 1);
    (InputBatch { numbers: all.numbers[..distinct * d].to_vec().into(), index: Some(index.into()), ..all }, params)
}

#[test]
fn the_rounded_lstm_gives_the_same_bits_on_any_number_of_threads() {
    let odd = [([4, 7, 33, 37], true), ([1, 5, 3, 17], false), ([3, 1, 1, 1], true), ([2, 3, 5, 16], false)];
    for (sizes, repeats) in [([5, 24, 40, 200], false), ([5, 24, 40, 200], true)].into_iter().chain(odd) {
        let outcome = || {
            let (x, params) = made(sizes, repeats);
            lstm_in(Precision::Bf16, &x, sizes[0], params.each_ref(), |h| h.iter().map(|h| 2.0 * h).collect())
        };
        let one = on_threads(1, outcome);
        for threads in [2, 3, 8, 16] {
            assert!(on_threads(threads, outcome) == one, "{threads} threads, {sizes:?}");
        }
        let (x, params) = made(sizes, repeats);
        let whole = fused_lstm(&x, sizes[0], params.each_ref(), |h| h.iter().map(|h| 2.0 * h).collect());
        for (rounded, whole) in one.iter().zip(&whole) {
            let whole: Vec<f64> = whole.iter().map(|v| f64::from(*v)).collect();
            assert_close(&format!("{sizes:?}"), rounded, &whole, 3e-2);
        }
    }
}

#[test]
fn repeated_rows_count_as_often_as_they_stand_there_and_nothing_else_is_rounded() {
    let sizes = [5, 6, 20, 48];
    let (x, params) = made(sizes, true);
    let (t, params) = (sizes[0], params.each_ref());
    let twice = |h: &[f32]| h.iter().map(|h| 2.0 * h).collect::<Vec<f32>>();
    let all = InputBatch::all(x.all_rows().into_owned().into(), x.rows);
    let once = lstm_in(Precision::Bf16, &x, t, params, twice);
    let whole = fused_lstm(&x, t, params, twice);
    let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    for ((name, once), (again, whole)) in ["h", "dw", "du", "db"]
        .iter()
        .zip(&once)
        .zip(lstm_in(Precision::Bf16, &all, t, params, twice).iter().zip(&whole))
    {
        // A sum of two rows is rounded once, two rows twice.
        assert_close(&format!("{name}, rows once and again"), once, &wide(again), 4e-3);
        assert_close(&format!("{name}, rounded and not"), once, &wide(whole), 2e-2);
    }
    // What is measured is what the parameters give in f32.
    let measured = lstm::forward(&x, t, params, None).last_state().to_vec();
    assert!(measured == whole[0] && measured != once[0]);
}

#[test]
fn a_cell_with_rounded_products_is_another_cell_and_predicts_what_its_table_has() {
    let place = Place::tiny(3);
    place.train("runs.db");
    let whole = place.numbers("runs.db");
    let said =
        place.call("run tiny --dataset data --db runs.db --set lstm.precision=bf16 --set train.keep=all").success();
    assert!(said.stderr.contains("10 done already, 4 to do"), "{}", said.stderr);
    let store = place.store("runs.db");
    let rounded: Vec<RunRecord> =
        runs(&store).into_iter().filter(|run| run.spec["lstm"]["precision"] == "bf16").collect();
    assert_eq!(rounded.len(), 4);
    let now = place.numbers("runs.db");
    assert!(whole.iter().all(|number| now.contains(number)), "what was there stays as it was");
    for run in &rounded {
        assert!(run.key.starts_with("vggish/lstm/"), "{}", run.key);
        let same = |other: &RunRecord| (&other.key, other.seed) == (&run.key, run.seed) && other.id != run.id;
        let f32 = runs(&store).into_iter().find(same).unwrap();
        assert!(f32.spec["lstm"].get("precision").is_none());
        let loss = |run: &RunRecord| {
            let of =
                format!("SELECT loss FROM epoch WHERE run_id = '{}' AND split = 'val' ORDER BY epoch DESC", run.id);
            place.query("runs.db", &of)[0]["loss"].as_f64().unwrap()
        };
        let apart = (loss(run) - loss(&f32)).abs() / loss(&f32);
        assert!(apart > 0.0 && apart < 0.02, "{}: {apart}", run.key);
    }
    // In f32, as everything that is measured.
    let run = &rounded[0];
    let said = place.call(&format!("predict {} --dataset data --split val --db runs.db", run.id)).success();
    assert!(said.stderr.contains(&format!("top-1 {:.4} %", run.values["top1"])), "{}", said.stderr);
    // The same bits once more, also without the instructions.
    let verify = format!("verify {} --dataset data --db runs.db", run.id);
    place.call(&verify).success();
    let scores = |db: &str| place.query(db, &format!("SELECT hash FROM score WHERE run_id = '{}'", run.id));
    let again = "run tiny --dataset data --db avx2.db --set lstm.precision=bf16 --seeds 0,1";
    place.call(again).env("UNMUTE_SIMD", "avx2").success();
    assert!(scores("runs.db").len() == 1 && scores("runs.db") == scores("avx2.db"));
    place
        .call("plan tiny --dataset data --set lstm.precision=bf16")
        .env("UNMUTE_SIMD", "avx2")
        .stderr("three times as long as f32")
        .success();
    place.call("plan tiny --dataset data").env("UNMUTE_SIMD", "avx2").absent("three times").success();
    place
        .call("run tiny --dataset data --db plain.db --set lstm.precision=bf16")
        .env("UNMUTE_SIMD", "scalar")
        .success();
    // An axis of a grid, and an alternative of a ledger.
    let axes = "plan tiny --dataset data --set grid.lstm.precision=[f32,bf16] --set grid.train.engine=[fused]";
    place.call(axes).stdout("vggish/lstm/l2/with lstm.precision=\"bf16\"").stdout("18 runs to do").success();
    place
        .call("plan tiny --dataset data --set grid.train.stop.patience=[1,2]")
        .stdout("train.stop.patience=2")
        .success();
    place.call("plan tiny --dataset data --set grid.lstm.precisio=[f32]").stderr("precision").fails(1);
    // dfdx has no such products; what has none of them it trains.
    let refused = "lstm.precision: bf16 is the fused engine's";
    place.call("run tiny --dataset data --set lstm.precision=bf16 --set train.engine=dfdx").stderr(refused).fails(1);
    place.call(&format!("verify {} --dataset data --db runs.db --engine dfdx", run.id)).stderr(refused).ends(3);
    let autoencoder = runs(&store).into_iter().find(|run| run.key == "vggish/autoencoder/l2/with").unwrap();
    place.call(&format!("verify {} --dataset data --db runs.db --engine dfdx", autoencoder.id)).success();
    let alone = "--set lstm.precision=bf16 --set grid.generator=[autoencoder] --set train.engine=dfdx";
    place.call(&format!("plan tiny --dataset data {alone}")).success();
    place.call("run tiny --dataset data --set lstm.precision=f16").stderr("bf16").fails(1);
}

/// Kept weights are used elsewhere, in f32: a table has what they give there.
#[test]
fn a_step_is_rounded_and_what_is_measured_is_not() {
    let sizes = Sizes { frames: 4, visual: 12, audio: 6, classes: 3 };
    let made = |precision: generator::lstm::Precision| {
        let generator = Generator::Lstm(Lstm { hidden: 16, precision });
        let mut network =
            cpu::engine(Engine::Fused, &generator, &generator.describe().network(sizes), sizes.frames, 0).unwrap();
        let x = InputBatch::all(normal(4 * 5 * 12, 1.0, "rounded steps").into(), 4 * 5);
        let before = network.outputs(&x).unwrap();
        let batch =
            Batch { x: x.clone(), labels: vec![0, 1, 2, 0, 1], target: normal(5 * 6, 1.0, "rounded steps' target") };
        let train = Train::default();
        let objective = Objective { loss: Loss::L2, classifier: Classifier::With, train: &train };
        let loss = network.step(&adam(&train), &objective, &batch).unwrap().loss;
        ([before.0.to_vec(), before.1.to_vec()], loss, network.save().unwrap())
    };
    let (f32, bf16) = (made(generator::lstm::Precision::F32), made(generator::lstm::Precision::Bf16));
    assert!(f32.0 == bf16.0, "outputs");
    assert!(f32.1 != bf16.1 && (f32.1 - bf16.1).abs() < 0.02 * f32.1, "losses {} and {}", f32.1, bf16.1);
    assert!(f32.2 != bf16.2, "parameters after a step");
}
