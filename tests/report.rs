//! The report as readers meet it: in a browser, made again, half done, beside another store, with hostile names.

use crate::support::call::{Place, small_experiment};
use crate::support::features::Source;
use crate::support::{require, root};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names that would do something if they were not shown as text.
const CLASSES: [&str; 3] =
    ["<script>alert(1)</script>", "it's \"quoted\" & long \u{2014} \u{202e}right to left\u{202c}", "dripping"];

/// A place whose classes, titles and notes are hostile, with every run done.
fn hostile() -> Place {
    let source = Source { classes: CLASSES.to_vec(), ..Default::default() };
    let place = Place::with_data(&source);
    let name = format!("title: '<img src=x onerror=alert(2)> {}'\n", "very-long-word".repeat(40));
    place.write("experiment/experiment.yaml", &small_experiment(&(name + "description: '</style><b>bold'\n")));
    place.call("run experiment").success();
    place
}

pub(crate) fn chromium() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(require::on_path)
}

/// The browser and the folder of scripts for it; says that the test is skipped without either.
pub(crate) fn browser_tools() -> Option<(PathBuf, PathBuf)> {
    let tools = root().join("tests/browser");
    let there = chromium().filter(|_| tools.join("node_modules/axe-core").is_dir());
    require::found("browser", there).map(|chromium| (chromium, tools))
}

/// Opens a report in a browser and looks for what must not be there: whether there was nothing, and what was said. None, said
/// to be skipped, without a browser.
fn seen_in_browser(report: &Path) -> Option<(bool, String)> {
    let (chromium, tools) = browser_tools()?;
    let output = Command::new("node").arg(tools.join("check.mjs")).arg(chromium).arg(report).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.success() && said.contains("0 faults"), said))
}

fn check_in_browser(report: &Path) {
    if let Some((fine, said)) = seen_in_browser(report) {
        assert!(fine, "{}: {said}", report.display());
    }
}

/// A look at a page that finds nothing is worth something only where it would find what is wrong.
#[test]
fn the_browser_finds_what_is_wrong() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment --seeds 0").success();
    place.call("report experiment --out .").success();
    let page = place.read("small.html");
    let damages: [(&str, &str, &str, &str); 6] = [
        ("an answer is gone", "May I trust it?", "What else?", "the first 900 pixels do not answer: may I trust it?"),
        ("nothing is on the first screen", "<body>", "<body><p style=\"height: 1000px\">.</p>", "the first 900 pixels"),
        ("a picture says nothing", "<main>", "<main><img src=\"data:,\">", "axe"),
        ("a script fails", "</body>", "<script>missing()</script></body>", "missing is not defined"),
        ("something of elsewhere", "</body>", "<img alt=\"\" src=\"https://example.org/x.png\"></body>", "outside"),
        ("too wide", "<main>", "<main><p style=\"width: 3000px\">.</p>", "scrolls sideways"),
    ];
    for (what, from, to, expected) in damages {
        assert!(page.contains(from), "{what}: the page has no {from}");
        place.write("damaged.html", &page.replace(from, to));
        let Some((fine, said)) = seen_in_browser(&place.path("damaged.html")) else { return };
        assert!(!fine && said.contains(expected), "{what}: {said}");
    }
}

#[test]
fn a_browser_finds_nothing_wrong() {
    let place = hostile();
    place.call("run experiment --seeds 0 --db other.db").success();
    place.call("sensitivity experiment --only A4,A11,A15").stdout("A4   raw features (train.target=\"raw\")").success();
    place.call("report experiment --against other.db --out .").success();
    let page = place.read("small.html");
    assert!(!page.contains("<script>alert") && !page.contains("<img src=x") && !page.contains("</style><b>"));
    assert!(page.contains("Beside another store") && page.contains("nothing moves"), "{}", page.len());
    check_in_browser(&place.path("small.html"));
}

#[test]
fn a_sweep_is_drawn_and_the_browser_likes_it() {
    let place = Place::with_data(&Source::default());
    place.write(
        "experiment/experiment.yaml",
        &small_experiment("grid: {audio: [vggish], generator: [autoencoder], loss: [l2], classifier: [without], missing.rate: [0.1, 0.4, 0.7]}\ncontrols: [mean]\n"),
    );
    place.call("run experiment").success();
    place.call("report experiment --out .").success();
    let page = place.read("small.html");
    assert!(page.contains("Table 3 against missing.rate") && page.contains("missing.rate,mean,sd,n"));
    check_in_browser(&place.path("small.html"));
}

#[test]
fn the_same_store_gives_the_same_bytes_anywhere() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment").success();
    let made = |call: crate::support::call::Call| {
        call.success();
        place.read("out/small.html")
    };
    let first = made(place.call("report experiment --out out"));
    assert_eq!(made(place.call("report experiment --out out")), first);
    let elsewhere = place.call("report small --out out").env("LC_ALL", "tr_TR.UTF-8").env("TZ", "Asia/Kathmandu");
    assert!(made(elsewhere.env("SOURCE_DATE_EPOCH", "1").env("RAYON_NUM_THREADS", "1")) == first);
}

#[test]
fn half_a_store_says_what_is_missing() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment --seeds 0").success();
    place.call("run experiment --set grid.generator=[lstm] --seeds 0,1").success();
    // The experiment as it stands in the folder was run with one seed only.
    place.call("run experiment --seeds 0").success();
    place.call("report experiment --out .").success();
    let page = place.read("small.html");
    assert!(page.contains("has no aenet feature"), "the reason for what is not there");
    place.call("export tables experiment --format json").stdout("\"verdict\": \"not-run\"").success();
    // One seed decides nothing.
    let tables = place.call("export tables experiment --format json").success().json();
    for entry in tables.as_array().unwrap() {
        assert!(entry["verdict"] != "agrees" || entry["metric"] == "train" || entry["metric"] == "val", "{entry}");
    }
}

#[test]
fn numbers_have_intervals_and_verdicts() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment").success();
    let tables = place.call("export tables experiment --format json").success().json();
    let rows: Vec<&serde_json::Value> =
        tables.as_array().unwrap().iter().filter(|e| e["table"] == 3 && !e["mean"].is_null()).collect();
    assert!(rows.len() > 10);
    for entry in rows {
        let bound = |i: usize| entry["interval"][i].as_f64().unwrap();
        let mean = entry["mean"].as_f64().unwrap();
        assert!(bound(0) <= mean && mean <= bound(1), "{entry}");
        if !entry["published"].is_null() {
            assert_eq!(entry["verdict"], "inconclusive", "{entry}");
            assert!(entry["why"].as_str().unwrap().contains("other data"), "{entry}");
        }
    }
    place.call("export tables experiment --format csv").stdout("skipped,low,high,verdict").success();
}

#[test]
fn alternatives_move_tables_and_leave_the_experiment_alone() {
    let place = Place::with_experiment(&Source::default());
    place.call("sensitivity experiment --only A99").stderr("not in the ledger").fails(2);
    place.call("run experiment").success();
    let before = place.call("export tables experiment --format json").success().stdout;
    let moved = place.call("sensitivity experiment --only A4,A6,A11,A13,A15 --json").success().json();
    let of = |id: &str| moved.as_array().unwrap().iter().find(|m| m["choice"] == id).unwrap().clone();
    let table3 = |m: &serde_json::Value| {
        m["moves"].as_array().unwrap().iter().find(|m| m["table"] == "3" && m["metric"] == "top1").unwrap().clone()
    };
    assert_eq!(of("A4")["set"][0], "train.target=\"raw\"");
    assert_eq!(table3(&of("A11"))["moved"], 8, "{moved}");
    assert!(of("A4")["moves"].as_array().unwrap().iter().any(|m| m["moved"] != 0), "{moved}");
    // Only the four autoencoder cells see another frame.
    assert!(table3(&of("A6"))["moved"].as_u64().unwrap() <= 4, "{moved}");
    assert!(of("A15")["seeds"] == serde_json::json!([0]), "{moved}");
    // The one seed is among the two: a table moves where the seeds differ.
    let entries: serde_json::Value = serde_json::from_str(&before).unwrap();
    let spread = |e: &serde_json::Value| e["sd"].as_f64().is_some_and(|sd| sd > 0.0) && e["metric"] != "difference";
    let seeds_differ = entries.as_array().unwrap().iter().any(spread);
    let moves = of("A15")["moves"].as_array().unwrap().iter().any(|m| m["moved"] != 0);
    assert_eq!(moves, seeds_differ, "{moved}");
    // Scores that are only put together anew are not trained again.
    let again = place.call("sensitivity experiment --only A11").success();
    assert!(again.stderr.contains("nothing to train") && !again.stderr.contains("to do"), "{}", again.stderr);
    assert_eq!(place.call("export tables experiment --format json").success().stdout, before);
    // With other settings the variants do not count.
    place.call("run experiment --set train.epochs=3").success();
    place.call("report experiment --out .").success();
    assert!(place.read("small.html").contains("No alternative has been run"));
}
