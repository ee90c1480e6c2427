//! `unmute export predictions`: what every finished run says of every val clip, and of every test clip where there are any.

use super::predict::ranked;
use super::use_args::{PredictionsArgs, RowsFormat};
use super::{Exit, Failure, open, print, print_json};
use crate::report::format::spreadsheet_safe as safe;
use serde_json::{Value, json};

pub(super) fn predictions(args: &PredictionsArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.db.db)?;
    let recorded = open::recorded(&store, &args.experiment, &args.pick.pick())?;
    recorded.tell();
    // A file of runs that depart from their declaration says so itself: the note on stderr does not travel with it.
    let notes = recorded.departures.sentences().join(" ");
    let record = recorded.record;
    let classes = store.dataset(record.dataset_id)?.manifest.classes;
    let k = args.top.min(classes.len());
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut head: Vec<String> =
        ["run", "cell", "seed", "scored", "clip", "label", "sounded", "right", "p_label"].map(String::from).into();
    head.extend((1..=k).flat_map(|i| [format!("top{i}"), format!("p{i}")]));
    head.extend((!notes.is_empty()).then(|| "notes".to_string()));
    csv.write_record(&head)?;
    let (mut rows, mut seen) = (Vec::new(), std::collections::HashSet::new());
    for cell in &record.cells {
        let Some(fingerprint) = cell.fingerprint.as_ref().filter(|f| seen.insert(f.to_string())) else { continue };
        for run in store.runs_of_cell(fingerprint, true)? {
            if let (Some(wanted), Some(seed)) = (&args.pick.seeds, run.seed)
                && !wanted.contains(&seed)
            {
                continue;
            }
            let view = store.view(run.view_id)?;
            for what in store.score_kinds(&run.id)? {
                let Some(scores) = store.scores(&run.id, &what)? else { continue };
                let val = view.of_scores(&what);
                for (i, clip) in val.clips.iter().enumerate() {
                    let (label, row, best) = (val.labels[i], scores.row(i), ranked(&scores, i, k));
                    let right = scores.right(i, label, 1);
                    match args.format {
                        RowsFormat::Csv => {
                            let seed = run.seed.map(|s| s.to_string()).unwrap_or_default();
                            let p = if best.is_empty() { String::new() } else { row[label].to_string() };
                            let mut fields = vec![run.id.clone(), safe(&run.key), seed, safe(&what), safe(clip)];
                            fields.extend([safe(&classes[label]), val.sounded[i].to_string(), right.to_string(), p]);
                            fields.extend(best.iter().flat_map(|&c| [safe(&classes[c]), row[c].to_string()]));
                            fields.resize(head.len(), String::new());
                            if let Some(last) = fields.last_mut().filter(|_| !notes.is_empty()) {
                                *last = safe(&notes);
                            }
                            csv.write_record(&fields)?;
                        }
                        RowsFormat::Json => {
                            let top: Vec<Value> =
                                best.iter().map(|&c| json!({ "class": classes[c], "p": row[c] })).collect();
                            let p = if best.is_empty() { Value::Null } else { json!(row[label]) };
                            let mut record = json!({
                                "run": run.id, "cell": run.key, "seed": run.seed, "scored": what, "clip": clip,
                                "label": classes[label], "sounded": val.sounded[i], "right": right, "p_label": p, "top": top,
                            });
                            if !notes.is_empty() {
                                record["notes"] = notes.as_str().into();
                            }
                            rows.push(record);
                        }
                    }
                }
            }
        }
    }
    match args.format {
        RowsFormat::Json => print_json(&rows)?,
        RowsFormat::Csv => {
            let bytes = csv.into_inner().map_err(|e| std::io::Error::other(e.to_string()))?;
            print(&String::from_utf8_lossy(&bytes))?;
        }
    }
    Ok(Exit::Done)
}
