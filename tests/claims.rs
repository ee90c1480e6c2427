//! The paper's claims on its own tables and on ours, through the real program.

use crate::support::call::{Place, small_experiment};
use crate::support::features::Source;
use crate::support::root;
use serde_json::Value;

fn of<'a>(judged: &'a Value, id: &str, metric: &str) -> &'a Value {
    let found = judged.as_array().unwrap().iter().find(|j| j["id"] == id && j["metric"] == metric);
    found.unwrap_or_else(|| panic!("no {id} {metric}"))
}

#[test]
fn the_published_tables_need_no_store() {
    let place = Place::new();
    let paper = root().join("experiments/icassp2019");
    let call = || place.call("claims --published").arg(&paper.display().to_string());
    let judged = call().arg("--json").ends(3).json();
    assert_eq!(of(&judged, "C3", "top1")["verdict"], "fails");
    assert_eq!(of(&judged, "C3", "top5")["verdict"], "holds");
    assert_eq!(of(&judged, "C6", "top1")["detail"], "15 of 16; not: table 3: lstm/l2/with 1.54 < baseline 1.57");
    assert_eq!(of(&judged, "C15", "top1")["verdict"], "cannot-be-tested");
    call().stdout("C15").stdout("4 of 16").ends(3);
    assert!(!place.path(".unmute").exists());
}

#[test]
fn a_claim_about_an_unknown_row_is_told_with_its_place() {
    let place = Place::new();
    place.write("e/experiment.yaml", &small_experiment(""));
    place.write(
        "e/tables.yaml",
        "tables:\n  - {table: 1, title: t, accuracy: [{key: rgb, row: RGB, fuse: rgb, published: {top1: \"1.0\"}}, {key: flow, row: F, fuse: flow}]}\n",
    );
    // The claims of the experiment that it extends are about other tables: they cannot be tested, and that is no error.
    place.call("claims e --published").stdout("there is no table 2").success();
    place.write(
        "e/claims.yaml",
        "claims:\n  - id: C1\n    claim: c\n    compare: [{table: 1, rows: rgb, beat: flwo}]\n",
    );
    place.call("claims e --published").stderr("claims.yaml:4:43").stderr("did you mean \"flow\"?").fails(1);
    place.write(
        "e/claims.yaml",
        "claims:\n  - id: C1\n    claim: c\n    compare: [{table: 1, rows: rgb, beat: flow}]\n",
    );
    place.call("claims e --published").stdout("flow of table 1 has no published top1").success();
}

#[test]
fn our_results_are_judged_with_intervals_whatever_the_threads() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment").success();
    let judged = place.call("claims experiment --json").success().json();
    assert_eq!(judged.as_array().unwrap().len(), 29);
    let c1 = of(&judged, "C1", "top1");
    assert_eq!((&c1["verdict"], &c1["published"]), (&"cannot-be-tested".into(), &"holds".into()));
    assert!(c1["detail"].as_str().unwrap().contains("aenet"), "{c1}");
    let c2 = &of(&judged, "C2", "top1")["comparisons"][0];
    let (low, high) = (c2["interval"][0].as_f64().unwrap(), c2["interval"][1].as_f64().unwrap());
    let (difference, p) = (c2["difference"].as_f64().unwrap(), c2["p"].as_f64().unwrap());
    assert!(low <= difference && difference <= high && (0.0..=1.0).contains(&p), "{c2}");
    let alone = place.call("claims experiment --json").env("RAYON_NUM_THREADS", "1").success().json();
    assert_eq!(alone, judged);
    place.call("report experiment --out .").success();
    let page = place.read("small.html");
    assert!(page.contains("cannot be tested") && page.contains("verdicts on our tables"), "no verdicts");
}
