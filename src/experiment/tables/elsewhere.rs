//! Rows for generators that are trained elsewhere, which no table file can know.

use super::table::{AccuracyRow, PublishedAccuracy, Tables};
use crate::experiment::config::Config;
use crate::experiment::fusion_expr::{Choice, Fusion, Term};
use crate::experiment::grid::{EXTERNAL, externals};

impl Tables {
    /// The same with a row for each generator from elsewhere on the grid, in every table of generated features alone that has none:
    /// `audio(external:mygan)` below `audio(lstm/l2/with)`.
    pub fn with_externals(mut self, config: &Config) -> Tables {
        for table in &mut self.tables {
            for name in externals(config) {
                let choice = Choice::External(name.into());
                let mut of: Option<String> = None;
                let mut there = false;
                for row in &table.accuracy {
                    let Ok(fusion) = Fusion::parse(&row.fuse) else { continue };
                    there |= fusion.terms.iter().any(|term| term.choice.as_ref() == Some(&choice));
                    if let [Term { name, choice: Some(Choice::Cell(..)) }] = &fusion.terms[..] {
                        of.get_or_insert(name.clone());
                    }
                }
                let key = format!("{EXTERNAL}{name}");
                let Some(audio) = of.filter(|_| !there && !table.accuracy.iter().any(|row| row.key == key)) else {
                    continue;
                };
                let row = AccuracyRow {
                    fuse: format!("{audio}({key})"),
                    key,
                    row: name.into(),
                    group: vec!["Generated elsewhere".into()],
                    control: false,
                    published: PublishedAccuracy::default(),
                };
                // Behind the other generators, before the controls.
                let place = table.accuracy.iter().position(|row| row.control).unwrap_or(table.accuracy.len());
                table.accuracy.insert(place, row);
            }
        }
        self
    }
}
