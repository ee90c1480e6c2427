//! What a reader should know of the SVM banks behind the numbers: machines that did not converge, sigmoids that held-out clips did
//! not give.

use super::results::Results;
use crate::score::quality::remarks;
use crate::store::Error;
use std::collections::BTreeMap;

/// Cells that are named of each remark, and remarks that are told.
const CELLS: usize = 3;
const REMARKS: usize = 8;

/// A sentence for each remark, with the cells that it is about; none where all banks are as they should be.
pub(super) fn sentences(results: &Results) -> Result<Vec<String>, Error> {
    let mut about: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for cell in &results.experiment.cells {
        for run in results.done(cell)? {
            for remark in remarks(&run.values) {
                let cells = about.entry(remark).or_default();
                if !cells.contains(&cell.key) {
                    cells.push(cell.key.clone());
                }
            }
        }
    }
    let all = about.len();
    let mut lines: Vec<String> =
        about.into_iter().take(REMARKS).map(|(remark, cells)| sentence(&remark, &cells)).collect();
    if all > REMARKS {
        lines.push(format!("{} more remarks on SVM banks: `unmute show RUN` has those of a run.", all - REMARKS));
    }
    Ok(lines)
}

fn sentence(remark: &str, cells: &[String]) -> String {
    let named = cells.iter().take(CELLS).map(String::as_str).collect::<Vec<_>>().join("; ");
    let more = if cells.len() > CELLS { format!(" and {} more", cells.len() - CELLS) } else { String::new() };
    format!("{named}{more}: {remark}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_names_its_cells_and_no_more_than_a_few() {
        let cells = ["a", "b", "c", "d", "e"].map(String::from);
        assert_eq!(sentence("it is so", &cells), "a; b; c and 2 more: it is so.");
        assert_eq!(sentence("it is so", &cells[..1]), "a: it is so.");
    }
}
