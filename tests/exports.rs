//! What leaves the program for other ones, and that everything says whose numbers it shows: CSV for spreadsheets, LaTeX for
//! articles, exports and reports of runs that are not those that were declared.

use crate::support::call::{Place, runs, small_experiment};
use crate::support::features::Source;
use std::path::PathBuf;
use std::process::Command;
use unmute::report::results::Results;

const FORMATS: [&str; 4] = ["csv", "json", "md", "latex"];

fn exported(place: &Place, format: &str) -> String {
    place.call("export tables experiment --format").arg(format).success().stdout
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

#[test]
fn every_format_says_that_the_runs_were_changed() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment").success();
    let plain: Vec<String> = FORMATS.iter().map(|f| exported(&place, f)).collect();
    assert!(plain.iter().all(|text| !text.contains("Changed on")), "{plain:?}");
    assert!(!plain[0].contains(",notes") && !plain[1].contains("\"notes\""), "{plain:?}");
    place.call("run experiment --set tsn.epochs=2").success();
    for format in FORMATS {
        let text = exported(&place, format);
        assert!(text.contains("Changed on the command line: tsn.epochs=2."), "{format}: {text}");
    }
    let csv = exported(&place, "csv");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(reader.headers().unwrap().iter().next_back(), Some("notes"));
    assert!(reader.records().all(|r| r.unwrap().iter().next_back().unwrap().contains("tsn.epochs=2")));
    // The variant as it was declared is still there to be picked.
    let first = place.call("export tables experiment --variant 1 --format csv").success().stdout;
    assert_eq!(first, plain[0]);
}

#[test]
fn fewer_seeds_than_declared_are_told_and_agree_with_nothing() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment --seeds 1").success();
    let csv = exported(&place, "csv");
    assert!(!csv.contains(",agrees") && csv.contains("1 of 2 declared seeds"), "{csv}");
    place.call("report experiment --out .").stderr("1 of 2 declared seeds").success();
    let page = place.read("small.html");
    assert!(page.contains("Not the experiment as declared") && page.contains("1 of 2 declared seeds"));
    assert!(page.contains("With care."), "the answer's third line");
    place.call("claims experiment").stderr("1 of 2 declared seeds").ends(0);
}

#[test]
fn only_the_seeds_that_were_asked_for_are_averaged() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment").success();
    place.call("run experiment --seeds 7").success();
    let n = |call: crate::support::call::Call| -> Vec<u64> {
        let all = call.success().json();
        let rgb = all.as_array().unwrap().iter().filter(|e| e["key"] == "rgb" && e["metric"] == "top1");
        rgb.map(|e| e["n"].as_u64().unwrap()).collect()
    };
    assert_eq!(n(place.call("export tables experiment --format json")), [1]);
    assert_eq!(n(place.call("export tables experiment --format json --seeds 0,7")), [2]);
    place.call("export tables experiment --format json --seeds 3").stderr("no run of seed 3").fails(2);
}

#[test]
fn an_edited_declaration_is_told_key_by_key() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment").success();
    place.call("report experiment --out .").absent("has changed since").success();
    place.write("experiment/experiment.yaml", &small_experiment("fusion: {weights: {rgb: 0}}\nsvm: {c: 3}\n"));
    let told = "fusion.weights.rgb: not set when run, 0.0 now; svm.c: ";
    place.call("report experiment --out .").stderr(told).success();
    let page = place.read("small.html");
    assert!(page.contains("experiment.yaml has changed since the run") && page.contains("svm.c: "), "the banner");
    place.call("claims experiment").stderr(told).ends(0);
    for format in FORMATS {
        assert!(exported(&place, format).contains("experiment.yaml has changed since the run"), "{format}");
    }
    // Its title is no number's business.
    place.write("experiment/experiment.yaml", &small_experiment("title: another\n"));
    place.call("report experiment --out .").absent("has changed since").success();
}

#[test]
fn reports_of_two_data_sets_stand_side_by_side() {
    let place = Place::with_experiment(&Source::default());
    Source { clips: 60, ..Source::default() }.write(&place.path("other/source"));
    place.call("data import other/source other/data --frames 3 --name source").success();
    place.call("run experiment").success();
    place.call("report experiment --out out").stdout("out/small.html").success();
    let first = place.read("out/small.html");
    place.call("run experiment --dataset other/data").success();
    let said = place.call("report experiment --out out").success().stdout;
    assert!(said.contains("out/small@source-"), "{said}");
    assert_eq!(place.read("out/small.html"), first);
    // Each is made again in its place.
    place.call("report experiment --out out --variant 1").success();
    assert_eq!(std::fs::read_dir(place.path("out")).unwrap().count(), 3, "small, small@source, small.1");
}

#[test]
fn a_report_of_a_damaged_store_says_so_and_a_published_one_names_nobody() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment").success();
    place.call("report experiment --out . --anonymous").absent("does not verify").success();
    let page = place.read("small.html");
    let host = runs(&place.store(".unmute/runs.db"))[0].host.clone().unwrap();
    assert!(!page.contains(&format!(">{host}<")), "the host's name");
    assert!(!page.contains(&place.path("").display().to_string()), "a folder of this machine");
    place.call("report experiment --out named").success();
    assert!(place.read("named/small.html").contains(&host));
    place.sql(".unmute/runs.db", "UPDATE value SET value = value + 1 WHERE name = 'top1'");
    place.call("report experiment --out .").stderr("warning: this store does not verify").success();
    let page = place.read("small.html");
    assert!(page.contains("This store does not verify") && page.contains("<strong>No.</strong>"));
}

#[test]
fn cells_are_no_formulas_and_odd_names_break_no_row() {
    let classes = vec!["=HYPERLINK(\"http://x\")", "+cmd & 50% #1 $x^2~ {c} \\d", "*pipe|two\nlines <b> [x]"];
    let source = Source { classes, ..Source::default() };
    let place = Place::new();
    source.write(&place.path("source"));
    if place.call("data import source data --frames 3").may_fail() {
        return; // Such names are refused, which is as good.
    }
    place.write("experiment/experiment.yaml", &small_experiment(""));
    place.write(
        "experiment/tables.yaml",
        "tables:\n  - {table: 5, title: '100 % of A_B & more', top: 3, audio: [vggish], improvement: [{key: '=a', column: '@c_1 & d|e', of: rgb+audio, over: rgb}]}\n",
    );
    place.write("experiment/claims.yaml", "claims: []\n");
    place.call("run experiment").success();
    let csv = exported(&place, "csv");
    for record in csv::Reader::from_reader(csv.as_bytes()).records() {
        for cell in record.unwrap().iter() {
            let formula = cell.trim_start().starts_with(['=', '+', '-', '@']) && cell.parse::<f64>().is_err();
            assert!(!formula, "{cell:?} in {csv}");
        }
    }
    let markdown = exported(&place, "md");
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    let rows: Vec<&str> = markdown.lines().filter(|l| l.starts_with('|')).collect();
    assert!(rows.len() == 5 && rows.iter().all(|l| bars(l) == bars(rows[0])), "{markdown}");
    let latex = exported(&place, "latex");
    let body = latex.split("\\midrule\n").nth(1).unwrap().split("\\bottomrule").next().unwrap();
    assert_eq!(body.lines().count(), 3, "{body}");
    assert!(body.lines().all(|l| l.ends_with("\\\\") && !l.starts_with(['[', '*'])), "{body}");
    compiles(&place, &latex);
}

/// Sets the tables in an article's column, where a LaTeX is there.
fn compiles(place: &Place, tables: &str) {
    let article = format!(
        "\\documentclass[twocolumn]{{article}}\n\\usepackage{{booktabs}}\n\\usepackage{{graphicx}}\n\\begin{{document}}\n{tables}\\end{{document}}\n"
    );
    place.write("article.tex", &article);
    let (name, arguments): (&str, &[&str]) = match (program("pdflatex"), program("tectonic")) {
        (Some(_), _) => ("pdflatex", &["-halt-on-error", "-interaction=nonstopmode", "article.tex"]),
        (None, Some(_)) => ("tectonic", &["article.tex"]),
        (None, None) => {
            let required =
                std::env::var("UNMUTE_REQUIRE").is_ok_and(|list| list.split(',').any(|name| name == "latex"));
            assert!(!required, "a LaTeX is required and not there");
            eprintln!("skipped: neither pdflatex nor tectonic is there");
            return;
        }
    };
    let output = Command::new(name).args(arguments).current_dir(place.path("")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{article}");
    assert!(!said.contains("Overfull \\hbox"), "wider than the column: {said}");
}

#[test]
fn latex_fits_a_column_has_labels_and_marks_the_best() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment").success();
    let latex = exported(&place, "latex");
    assert!(
        latex.contains("\\label{tab:small-4}")
            && latex.contains("\\begin{table}")
            && latex.contains("{\\scriptsize {[}")
    );
    let wide = place.call("export tables experiment --format latex --wide").success().stdout;
    assert!(wide.contains("\\begin{table*}") && !wide.contains("\\begin{table}\n"));
    compiles(&place, &latex);
    compiles(&place, &wide);
}

#[test]
fn the_generators_table_shows_the_generated_feature_alone() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment").success();
    let store = place.store(".unmute/runs.db");
    let record = store.latest_experiment("small").unwrap().unwrap();
    let results = Results::new(&store, &record).unwrap();
    let zero = runs(&store).into_iter().find(|r| r.key == "vggish/zero").unwrap();
    // Zeros are one feature for all clips: one class is right for a third of the clips that sound, whatever was recorded.
    let [sounded, silent] = results.generated_alone(&zero).unwrap();
    let scores = store.scores(&zero.id, "generated").unwrap().unwrap();
    let view = results.view(zero.view_id).unwrap();
    let share = |sounds: bool| {
        let of: Vec<usize> = (0..view.val.labels.len()).filter(|c| view.val.sounded[*c] == sounds).collect();
        let right = of.iter().filter(|c| scores.right(**c, view.val.labels[**c], 1)).count();
        100.0 * right as f64 / of.len() as f64
    };
    assert_eq!((sounded, silent), (Some(share(true)), Some(share(false))));
    assert_ne!(sounded, zero.values.get("top1/sounded").copied(), "that is the recorded sound's");
}

#[test]
fn an_alternative_that_is_the_setting_is_not_said_to_move_nothing() {
    let place = Place::with_data(&Source::default());
    place.write("experiment/experiment.yaml", &small_experiment("fusion: {sounded: generated}\n"));
    place.call("run experiment").success();
    let moved = place.call("sensitivity experiment --only A11 --json").success().json();
    assert!(moved[0]["skipped"].as_str().unwrap().contains("what the experiment has already"), "{moved}");
    assert_eq!(moved[0]["moves"], serde_json::json!([]));
    place.call("report experiment --out .").success();
    let page = place.read("small.html");
    assert!(page.contains("Here fusion.sounded is generated") && page.contains("is what this experiment has"));
    // Inherited texts have the values of this experiment.
    assert!(page.contains("batches of 8, 2 epochs") && page.contains("Seeds 0, 1; mean"), "the ledger's texts");
}
