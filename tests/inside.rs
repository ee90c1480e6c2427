//! Looking into results: confusions, clips that generation turned, nearest classes; and weights that are looked after.

use crate::support::call::{Place, runs};
use unmute::runs::weights;

/// The columns of a CSV by their heading.
fn csv(text: &str) -> Vec<std::collections::BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let head = reader.headers().unwrap().clone();
    let row = |r: csv::StringRecord| head.iter().map(String::from).zip(r.iter().map(String::from)).collect();
    reader.records().map(|r| row(r.unwrap())).collect()
}

#[test]
fn confusions_and_turned_clips_add_up_to_the_tables_numbers() {
    let place = Place::tiny(2);
    let yaml = place.read("tiny/experiment.yaml").replace("controls: [mean]", "controls: [mean, oracle]");
    place.write("tiny/experiment.yaml", &yaml);
    place.write(
        "tiny/tables.yaml",
        "tables:\n  - table: 4\n    title: fusion\n    accuracy:\n      - {key: with, row: with, fuse: rgb+flow+vggish(best)}\n      - {key: without, row: without, fuse: rgb+flow+vggish}\n",
    );
    place.train("runs.db");
    let tables = place.call("export tables tiny --format json --db runs.db").success().json();
    let top1 = |key: &str| {
        let all = tables.as_array().unwrap().iter().find(|e| e["key"] == key && e["metric"] == "top1").unwrap();
        all["mean"].as_f64().unwrap()
    };
    let confusion = csv(&place.call("export confusion tiny --db runs.db").success().stdout);
    let number = |row: &std::collections::BTreeMap<String, String>, name: &str| row[name].parse::<f64>().unwrap();
    let clips: f64 = confusion.iter().map(|r| number(r, "clips")).sum();
    let right: f64 = confusion.iter().map(|r| number(r, &format!("as {}", r["class"]))).sum();
    assert_eq!((confusion.len(), clips), (4, 64.0), "32 val clips, two seeds");
    assert!((100.0 * right / clips - top1("with")).abs() < 1e-9);
    for row in &confusion {
        let recall = 100.0 * number(row, &format!("as {}", row["class"])) / number(row, "clips");
        assert!((recall - number(row, "recall")).abs() < 1e-3, "{row:?}");
    }
    let turned = place.call("export turned tiny --db runs.db --format json").success().json();
    let sum = |name: &str| turned["clips"].as_array().unwrap().iter().map(|t| t[name].as_f64().unwrap()).sum::<f64>();
    let moved = 100.0 * (sum("to_right") - sum("to_wrong")) / 64.0;
    assert!((moved - (top1("with") - top1("without"))).abs() < 1e-9, "{moved}: {turned}");
    // The oracle knows the true feature of every clip; what is nearest to it is itself.
    let of_oracle = "export nearest tiny --of vggish(oracle) --over vggish --db runs.db --format json";
    let nearest = place.call(of_oracle).success().json();
    for class in nearest["classes"].as_array().unwrap() {
        assert_eq!((class["clips"].as_u64(), class["same"].as_f64()), (Some(8), Some(100.0)), "{class}");
    }
    let best = csv(&place.call("export nearest tiny --db runs.db").success().stdout);
    assert!(best.iter().all(|r| r["clips"] == "8" && !r["generated"].is_empty()), "{best:?}");
    // Seeds can be picked, other sums named, and slips are told.
    let one = csv(&place.call("export confusion tiny --seeds 1 --db runs.db").success().stdout);
    assert_eq!(one.iter().map(|r| number(r, "clips")).sum::<f64>(), 32.0);
    place.call("export confusion tiny --of rgb+ --db runs.db").fails(2);
    place.call("export turned tiny --audio vgish --db runs.db").stderr("did you mean \"vggish\"").fails(2);
    place.call("export turned tiny --of vggish(ridge) --db runs.db").stderr("not a cell of the grid").fails(2);
    place.call("report tiny --db runs.db --out .").success();
    let page = place.read("tiny.html");
    for text in ["Looking into it", "class=\"plot heat\"", "from wrong to right", "Nearest classes of generated"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn weights_are_looked_after() {
    let place = Place::tiny(1);
    place.train("runs.db");
    place.call("verify --db runs.db").stdout("whole").success();
    let said = place.call("doctor --db runs.db").stdout("weights").success();
    assert!(said.stdout.contains("nothing to worry about"), "{}", said.stdout);
    place.call("export store alone.db --with-weights --db runs.db").success();
    place.call("verify --db alone.db").stdout("whole").absent("neither inside").success();
    let store = place.store("runs.db");
    let run = runs(&store).into_iter().find(|r| r.kind == "stream").unwrap();
    let kept = store.weights(&run.id).unwrap().unwrap();
    let path = weights::path(&place.path("runs.db"), &kept.hash);
    // A bit of a file beside the store.
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let said = place.call("verify --db runs.db").ends(3);
    assert!(said.stdout.contains("its weights: its bytes do not match their hash"), "{}", said.stdout);
    bytes.pop();
    std::fs::write(&path, &bytes).unwrap();
    place.call("doctor --db runs.db").stdout("are damaged").success();
    // A file that is not there is no damage: a store may travel without.
    std::fs::remove_file(&path).unwrap();
    place.call("verify --db runs.db").stdout("whole").stderr("the weights of 1 run are not beside the store").success();
    place.call("doctor --db runs.db").stdout("neither inside the store nor beside it").success();
    // Inside, a bit, a file that is of no run, and a length that is another.
    for (sql, told) in [
        (
            format!("UPDATE weights_file SET blob = zeroblob(100) WHERE hash = '{}'", kept.hash),
            "do not match their hash",
        ),
        (format!("DELETE FROM weights WHERE run_id = '{}'", run.id), "they are of no run"),
        (format!("UPDATE weights SET bytes = bytes + 1 WHERE run_id = '{}'", run.id), "are noted"),
        (format!("UPDATE weights SET hash = 'x' WHERE run_id = '{}'", run.id), "named by no hash"),
    ] {
        place.copy("alone.db", "spoilt.db");
        place.sql("spoilt.db", &sql);
        let said = place.call("verify --db spoilt.db").ends(3);
        assert!(said.stdout.contains(told), "{sql}: {}", said.stdout);
    }
}
