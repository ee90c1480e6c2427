//! `unmute export predictions`: what every finished run says of every val clip, and of every test clip where there are any.

use super::predict::ranked;
use super::use_args::{PredictionsArgs, RowsFormat};
use super::{Exit, Failure, open, print, print_json};
use serde_json::{Value, json};

pub(super) fn predictions(args: &PredictionsArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.db.db)?;
    let record = open::recorded(&store, &args.experiment, &args.pick.pick())?.record;
    let classes = store.dataset(record.dataset_id)?.manifest.classes;
    let k = args.top.min(classes.len());
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut head: Vec<String> =
        ["run", "cell", "seed", "scored", "clip", "label", "sounded", "right", "p_label"].map(String::from).into();
    head.extend((1..=k).flat_map(|i| [format!("top{i}"), format!("p{i}")]));
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
                            let mut fields = vec![run.id.clone(), run.key.clone(), seed, what.clone(), clip.clone()];
                            fields.extend([classes[label].clone(), val.sounded[i].to_string(), right.to_string(), p]);
                            fields.extend(best.iter().flat_map(|&c| [classes[c].clone(), row[c].to_string()]));
                            fields.resize(head.len(), String::new());
                            csv.write_record(&fields)?;
                        }
                        RowsFormat::Json => {
                            let top: Vec<Value> =
                                best.iter().map(|&c| json!({ "class": classes[c], "p": row[c] })).collect();
                            let p = if best.is_empty() { Value::Null } else { json!(row[label]) };
                            rows.push(json!({
                                "run": run.id, "cell": run.key, "seed": run.seed, "scored": what, "clip": clip,
                                "label": classes[label], "sounded": val.sounded[i], "right": right, "p_label": p, "top": top,
                            }));
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
